"""Bytes to typed structs and back.

Guarantee: whatever the bytes, ``decode`` gives a valid struct or raises ``MalformedJSON`` (400) or ``ValidationFailed``
(422), and nothing else. The first pass is one typed decode in C. Only what that refuses is read again, slowly, field by
field: there ``null`` counts as left out, a whole float as an int, and each bad field gives one error.
"""

import re
import types
from difflib import get_close_matches
from functools import cache
from itertools import accumulate, islice
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from poolhub.common.errors import FieldError, MalformedJSON, ValidationFailed
from poolhub.common.fields import Invalid, decode_hook, encode_hook

T = TypeVar("T")

MAX_DEPTH = 16
MAX_ERRORS = 50
SHOWN = 64  # characters of an unknown key that an answer repeats

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}

_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=encode_hook)
_untyped = msgspec.json.Decoder()


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=decode_hook)


def encode(obj: Any) -> bytes:
    return _encoder.encode(obj)


def decode(body: bytes, type: type[T]) -> T:  # noqa: A002 - reads as msgspec's own decode(…, type=…)
    """``body`` as a ``type``. Unknown keys are ignored unless the struct forbids them."""
    _check_depth(body)
    try:
        if not body.isascii():
            body.decode()
        decoded: T = _decoder(type).decode(body)  # type: ignore[arg-type]  # a type is hashable
    except msgspec.ValidationError as exc:
        return _decode_slowly(body, type, exc)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _malformed(exc) from None
    if b"\\u0000" in body:
        _check_characters(decoded, "")
    return decoded


def convert(obj: Any, type: type[T], *, path: str = "") -> T:  # noqa: A002 - as decode
    """The same for an object that was decoded already. ``path`` stands before the fields that errors name."""
    try:
        converted: T = msgspec.convert(obj, type, dec_hook=decode_hook)
    except msgspec.ValidationError:
        converted = _Reader().read(obj, type, path)
    _check_characters(converted, path)
    return converted


def _decode_slowly(body: bytes, kind: type[T], first: msgspec.ValidationError) -> T:
    try:
        obj = _untyped.decode(body)
    except msgspec.ValidationError:  # a number that no Python float or int can hold
        raise ValidationFailed(errors=[_field_error(first, "")]) from None
    except msgspec.DecodeError as exc:  # the first pass had stopped before the fault
        raise _malformed(exc) from None
    decoded = _Reader().read(obj, kind, "")
    _check_characters(decoded, "")
    return decoded


def _malformed(exc: Exception) -> MalformedJSON:
    return MalformedJSON(f"The body is not JSON: {exc}")


def _check_depth(body: bytes) -> None:
    """Nesting over 16 levels is refused everywhere, in ignored fields too, before any parser recurses into it."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise ValidationFailed(f"The body is nested over {MAX_DEPTH} levels.", code="too_deep")


def _check_characters(value: Any, path: str) -> None:
    """NUL characters are refused in whatever is read: PostgreSQL cannot store them."""
    match value:
        case str():
            if "\0" in value:
                raise ValidationFailed(errors=[FieldError(path, "invalid_character", "NUL characters are not allowed")])
        case msgspec.Struct():
            for name, wire in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
                _check_characters(getattr(value, name), _join(path, wire))
        case list() | tuple():
            for i, item in enumerate(value):
                _check_characters(item, f"{path}[{i}]")
        case dict():
            for key, item in value.items():
                _check_characters(key, path)
                _check_characters(item, _join(path, str(key)[:SHOWN]))


class _Reader:
    """The second pass: reads on after an error, so that each bad field is named once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def read(self, obj: Any, kind: type[T], path: str) -> T:
        value = self._value(obj, kind, path)
        if self.errors:
            raise ValidationFailed(errors=self.errors)
        return value  # type: ignore[no-any-return]  # _value reads as kind says, which typing cannot follow

    def _value(self, obj: Any, kind: Any, path: str) -> Any:
        options = _options(kind)
        struct = next((option for option in options if _is_struct(option)), None)
        if struct is not None and (isinstance(obj, dict) or len(options) == 1):
            return self._struct(obj, struct, path)
        if isinstance(obj, float) and obj.is_integer() and int in options and float not in options:
            obj = int(obj)
        try:
            return msgspec.convert(obj, kind, dec_hook=decode_hook)
        except msgspec.ValidationError as exc:
            self._add(_field_error(exc, path))
        return None

    def _struct(self, obj: Any, struct: Any, path: str) -> Any:
        if not isinstance(obj, dict):
            self._add(FieldError(path, "invalid_type", "Expected an object"))
            return None
        before = len(self.errors)
        values: dict[str, Any] = {}
        fields = msgspec.structs.fields(struct)
        for field in fields:
            given = obj.get(field.encode_name)
            if given is not None:
                values[field.name] = self._value(given, field.type, _join(path, field.encode_name))
            elif field.required:
                self._add(FieldError(_join(path, field.encode_name), "required", "This field is required"))
        if struct.__struct_config__.forbid_unknown_fields:
            known = [field.encode_name for field in fields]
            unknown = (key for key in obj if key not in known)
            for key in islice(unknown, MAX_ERRORS - len(self.errors)):  # to look for the nearest name is slow
                self._add(_unknown(key, known, path))
        if len(self.errors) > before:
            return None
        try:
            return struct(**values)
        except ValueError as exc:
            self._add(FieldError(path, getattr(exc, "code", "invalid_value"), str(exc)))
        return None

    def _add(self, error: FieldError) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)


def _unknown(key: str, known: list[str], path: str) -> FieldError:
    shown = key[:SHOWN]
    nearest = get_close_matches(shown, known, n=1, cutoff=0.0)[0]
    return FieldError(
        _join(path, shown), "unknown_field", f"There is no such field; the nearest known one is {nearest}"
    )


@cache
def _options(kind: Any) -> tuple[Any, ...]:
    """The plain types that an annotation allows, None aside: ``Annotated[int, …] | None`` gives ``(int,)``."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for arg in get_args(kind) for option in _options(arg))
    return () if kind is types.NoneType else (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_MESSAGES = [
    (re.compile(r"missing required field"), "required"),
    (re.compile(r"unknown field"), "unknown_field"),
    (re.compile(r"^Expected `(str|array|object)` of length <="), "too_long"),
    (re.compile(r"^Expected `(str|array|object)` of length >="), "too_short"),
    (re.compile(r"matching regex"), "invalid_format"),
    (re.compile(r"^Expected `(int|float)` [<>]|out of range$"), "out_of_range"),
    (re.compile(r"^Expected .*, got "), "invalid_type"),
]


def _field_error(exc: msgspec.ValidationError, path: str) -> FieldError:
    message, _, where = str(exc).partition(" - at ")
    where = where.strip("`").removeprefix("key` in `").removeprefix("$").replace("[...]", "")
    field = (path + where) if path else where.removeprefix(".")
    if isinstance(exc.__cause__, Invalid):
        return FieldError(field, exc.__cause__.code, str(exc.__cause__))
    code = next((code for pattern, code in _MESSAGES if pattern.search(message)), "invalid_value")
    return FieldError(field, code, message.replace("`", ""))
