"""A match body as a form. Its fields are those of the request's types, so that a new requirement appears by itself.

The form checks nothing: what it makes is read by the codec that reads the API's bodies, and refused in the same words.
"""

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from matching.serializers import Hints, Requirements, WeightsBody
from poolhub.common.errors import HubError
from poolhub.common.fields import Tokens

HERE_ANYWAY = frozenset({"explain"})  # the playground always asks for all of it
JOB, TOP_K = "job_id", "top_k"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of the form: where its value goes in the body, and what it takes."""

    path: tuple[str, ...]
    kind: type  # str, float, bool or list

    @property
    def name(self) -> str:
        return ".".join(self.path)


def _slots(struct: type[msgspec.Struct], *path: str) -> Iterator[Slot]:
    for field in msgspec.structs.fields(struct):
        kind = _kind(field.type)
        if kind is not None and field.encode_name not in HERE_ANYWAY:
            yield Slot((*path, field.encode_name), kind)


KINDS: tuple[tuple[type, type], ...] = ((bool, bool), (int, float), (float, float), (Tokens, float), (str, str))


def _kind(annotation: Any) -> type | None:
    """What an annotation takes: None for what the form has no field for."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0])
    if origin in (Union, types.UnionType):
        return next(filter(None, map(_kind, args)), None)
    if origin in (list, Literal):
        return list if origin is list else str
    of_it = (kind for base, kind in KINDS if isinstance(annotation, type) and issubclass(annotation, base))
    return next(of_it, None)


GROUPS = (
    ("Job", (Slot((JOB,), str), Slot((TOP_K,), float))),
    ("Requirements", tuple(_slots(Requirements, "requirements"))),
    ("Hints", tuple(_slots(Hints, "hints"))),
    ("Weights", tuple(_slots(WeightsBody, "hints", "weights"))),
)
SLOTS = tuple(slot for _, slots in GROUPS for slot in slots)
CONSTRAINT_FIELDS = {"proto": "proto_any", "excluded": "exclude_miners"}  # where a constraint is not named as its field


class BodyForm(forms.Form):
    """`BodyForm(initial=values_of(body))`, or bound to what was sent; then `body()` is what it says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for slot in SLOTS:
            self.fields[slot.name] = _field(slot)

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(title, [self[slot.name] for slot in slots]) for title, slots in GROUPS]

    def body(self) -> Body:
        """Without what was left empty."""
        made: Body = {}
        for slot in SLOTS:
            field = self.fields[slot.name]
            value = _told(slot, field.widget.value_from_datadict(self.data, self.files, self.add_prefix(slot.name)))
            if value is False or value in ("", []):
                continue
            inner = made
            for step in slot.path[:-1]:
                inner = inner.setdefault(step, {})
            inner[slot.path[-1]] = value
        return made

    def refuse(self, error: HubError) -> list[str]:
        """Each error at its field; those that no field is for are returned."""
        self.full_clean()  # else the errors are forgotten by the first look at them
        beside = []
        for each in error.errors:
            name = each.field.partition("[")[0]
            if name in self.fields:
                self.add_error(name, each.detail)
            else:
                beside.append(f"{each.field}: {each.detail}" if each.field else each.detail)
        return beside if error.errors else [error.detail]


def _field(slot: Slot) -> forms.Field:
    label = slot.path[-1].replace("_", " ")
    if slot.kind is bool:
        return forms.BooleanField(required=False, label=label, widget=UnfoldBooleanWidget())
    if slot.kind is list:
        return forms.CharField(
            required=False, label=label, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}), help_text="One a line."
        )
    attrs = {"inputmode": "decimal"} if slot.kind is float else {}
    return forms.CharField(required=False, label=label, widget=UnfoldAdminTextInputWidget(attrs=attrs))


def _told(slot: Slot, sent: Any) -> Any:
    if slot.kind is bool:
        return bool(sent)
    text = (sent or "").strip() if slot.kind is float else sent or ""
    if slot.kind is list:
        return [line for line in text.replace("\r\n", "\n").split("\n") if line]
    return _number(text) if slot.kind is float else text


def _number(text: str) -> Any:
    """As JSON would hold it; what is no number stays as it is, to be refused by its field."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if isfinite(value) else text
    return text


def values_of(body: Any) -> dict[str, Any]:
    """What the form shows of a body, however odd."""
    values: dict[str, Any] = {}
    for slot in SLOTS:
        value: Any = body
        for step in slot.path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is None:
            continue
        if slot.kind is list:
            values[slot.name] = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        else:
            values[slot.name] = value if slot.kind is bool else str(value)
    return values


def text_of(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def relaxed(body: Body, constraint: str, to: float | None) -> Body | None:
    """The body with one constraint moved to a value, or dropped; None where nothing in the body names it."""
    name = CONSTRAINT_FIELDS.get(constraint, constraint)
    for part in ("requirements", "hints"):
        inner = body.get(part) or {}
        if name in inner:
            kept = {key: value for key, value in inner.items() if key != name}
            return {**body, part: kept if to is None else {**kept, name: to}}
    return None
