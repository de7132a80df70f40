"""The figures that the hub has to reach, and the one table that says which of them a run has seen reached.

Each benchmark declares its own as FIGURES; here they are read off its result.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks import harness

Result = Mapping[str, Any]
HEADER = ("what", "figure to reach", "figure seen", "reached", "benchmark")


@dataclass(frozen=True, slots=True)
class Figure:
    what: str  # of which row, and under which conditions
    limit: float
    unit: str
    is_most: bool  # the limit is the most that is allowed; else the least
    seen: Callable[[Result], float | None]  # None, or a KeyError, where a run has not measured it

    @property
    def wanted(self) -> str:
        return f"{'≤' if self.is_most else '≥'} {self.shown(self.limit)}"

    def shown(self, value: float) -> str:
        return f"{harness.cell(value)} {self.unit}".strip()

    def read(self, result: Result) -> float | None:
        try:
            return self.seen(result)
        except (KeyError, IndexError, StopIteration, TypeError):
            return None

    def is_reached(self, value: float) -> bool:
        return value <= self.limit if self.is_most else value >= self.limit


def at_most(what: str, limit: float, unit: str, seen: Callable[[Result], float | None]) -> Figure:
    return Figure(what, limit, unit, True, seen)


def at_least(what: str, limit: float, unit: str, seen: Callable[[Result], float | None]) -> Figure:
    return Figure(what, limit, unit, False, seen)


class Benchmark(Protocol):
    NAME: str
    FIGURES: tuple[Figure, ...]


def table(benchmarks: Iterable[Benchmark], results: Mapping[str, Result]) -> str:
    """A line a figure, of every benchmark that has a result."""
    rows = []
    for each in benchmarks:
        result = results.get(each.NAME)
        for figure in each.FIGURES if result is not None else ():
            value = figure.read(result)
            rows.append([figure.what, figure.wanted, *_outcome(figure, value), each.NAME])
    return harness.table(HEADER, rows)


def recorded(benchmarks: Iterable[Benchmark], folder: Path) -> dict[str, Result]:
    """The results that were written there before."""
    files = {each.NAME: folder / f"{each.NAME}.json" for each in benchmarks}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def _outcome(figure: Figure, value: float | None) -> list[str]:
    if value is None:
        return ["not measured", "–"]
    return [figure.shown(value), "yes" if figure.is_reached(value) else "**no**"]
