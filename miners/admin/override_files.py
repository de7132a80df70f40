"""Price overrides as files, and back: CSV and JSON, a row an override.

Promises: what is exported and imported again is the same, to the last digit and character. A cell that a spreadsheet
would take for a formula is written with an apostrophe before it, which an import takes away. JSON needs none.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tablib
from import_export.formats import base_formats

COLUMNS = ("miner_id", "price", "reason", "valid_from", "valid_until")  # of an import
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
ESCAPED = re.compile(r"'+[=+\-@\t\r\n]")


def escaped(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    return cell[1:] if ESCAPED.match(cell) else cell


class CSV(base_formats.CSV):  # type: ignore[misc]  # the library has no types
    CONTENT_TYPE = "text/csv; charset=utf-8"

    def create_dataset(self, in_stream: Any, **options: Any) -> tablib.Dataset:
        return _each_cell(super().create_dataset(in_stream, **options), unescaped)

    def export_data(self, dataset: tablib.Dataset, **options: Any) -> Any:
        return super().export_data(_each_cell(dataset, escaped), **options)


class JSON(base_formats.JSON):  # type: ignore[misc]
    def create_dataset(self, in_stream: Any, **options: Any) -> tablib.Dataset:
        """Rows by the names of their fields, in whatever order; numbers as they are written, never as floats."""
        text = in_stream.decode(self.encoding or "utf-8-sig") if isinstance(in_stream, bytes) else in_stream
        rows = json.loads(text, parse_float=str, parse_int=str)
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError("a list of objects")
        headers = list(dict.fromkeys(name for row in rows for name in row))
        return tablib.Dataset(*([_text(row.get(name)) for name in headers] for row in rows), headers=headers)

    def export_data(self, dataset: tablib.Dataset, **options: Any) -> Any:
        return json.dumps(dataset.dict, indent=2, ensure_ascii=False)


FORMATS: Sequence[type] = (CSV, JSON)


def header_faults(headers: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """A column that is dropped in silence would leave an override open that was to end."""
    names = list(headers or ())
    faults = [f"There is no column {name}." for name in COLUMNS[:2] if name not in names]
    faults += [f"The column {name} is unknown." for name in dict.fromkeys(names) if name not in set(known)]
    return faults + [f"The column {name} is there twice." for name in dict.fromkeys(names) if names.count(name) > 1]


def _each_cell(dataset: tablib.Dataset, change: Callable[[str], str]) -> tablib.Dataset:
    rows = [[change("" if cell is None else str(cell)) for cell in row] for row in dataset]
    return tablib.Dataset(*rows, headers=dataset.headers)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
