"""A table of round-trip times as CSV, as an operator uploads or pastes it."""

import csv
import hashlib
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from miners.admin.shared import too_many_rows
from miners.regions.table import require_round_trip
from miners.registry.roundtrips import Pair, pair_of
from poolhub.common.errors import HubError

HEADER = ["region", "other", "operator_ms"]
MAX_ROWS = 5000
MAX_TOLD = 10


class RoundTripFileForm(forms.Form):
    """cleaned_data: `text`, its `digest`, and `values`, ms by pair; None leaves a pair to the miners."""

    file = forms.FileField(required=False, widget=UnfoldAdminFileFieldWidget)
    text = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12}),
        help_text="Or here: region,other,operator_ms in the first line, then a pair a line. An empty time leaves the "
        "pair to what miners measure.",
    )

    def clean(self) -> dict[str, Any]:
        file, text = self.cleaned_data.get("file"), self.cleaned_data.get("text") or ""
        if file is not None:
            try:
                text = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise forms.ValidationError("The file is not text in UTF-8.") from error
        if not text.strip():
            raise forms.ValidationError("Choose a file, or paste its lines.")
        values, faults = read(text)
        if faults:
            raise forms.ValidationError(faults[:MAX_TOLD])
        lines = "\n".join(text.splitlines())  # as whoever sends it, a browser ends them in its own way
        return {"text": lines, "values": values, "digest": hashlib.sha256(lines.encode()).hexdigest()}


def read(text: str) -> tuple[dict[Pair, float | None], list[str]]:
    """Times by pair, and what is wrong with the text."""
    values: dict[Pair, float | None] = {}
    faults: list[str] = []
    try:
        header, *lines = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True) if row]
    except (csv.Error, ValueError) as error:
        return {}, [f"That is no CSV: {error}."]
    if header != HEADER:
        return {}, [f"The first line is {','.join(HEADER)}."]
    if len(lines) > MAX_ROWS:
        return {}, [too_many_rows(len(lines), MAX_ROWS)]
    for number, row in enumerate(lines, start=2):
        try:
            pair, ms = _pair(row)
        except (HubError, ValueError) as error:
            faults.append(f"Line {number}: {_said(error)}")
            continue
        if pair in values:
            faults.append(f"Line {number}: the pair {pair[0]}, {pair[1]} is there twice.")
        values[pair] = ms
    return values, faults


def _pair(row: list[str]) -> tuple[Pair, float | None]:
    if len(row) != len(HEADER):
        raise ValueError(f"it has {len(row)} cells, not {len(HEADER)}")
    region, other, time = row
    ms = float(time) if time else None
    require_round_trip(region, other, ms)
    return pair_of(region, other), ms


def _said(error: Exception) -> str:
    if isinstance(error, HubError):
        return " ".join(f"{each.field}: {each.detail}." for each in error.errors)
    return f"{error}."
