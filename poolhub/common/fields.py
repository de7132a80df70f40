"""Types of request fields with the contract's limits (api.md, sections 2 to 4), for msgspec structs.

A field that may be left out is ``X | None = None``; ``null`` then reads as left out (see ``codec``).
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

MAX_NUMBER = 10**12
MAX_COUNT = 10**6
MAX_PRICE = 10**9
PRICE_UNITS = 10**8  # a token has so many price units

MINER_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}\Z"

# controls, line separators and what turns the direction of text: they let one text pass for another on a screen
UNSAFE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # of a regular expression's […]
SAFE_PATTERN = rf"^[^{UNSAFE}]*$"
SAFE = Meta(extra_json_schema={"pattern": SAFE_PATTERN})  # told, and refused elsewhere with a code of its own

MinerId = Annotated[str, Meta(min_length=1, max_length=64, pattern=MINER_ID_PATTERN)]
JobId = Annotated[str, Meta(min_length=1, max_length=128)]
Region = Annotated[str, Meta(max_length=64)]
Tag = Annotated[str, Meta(max_length=64), SAFE]
Capability = Annotated[str, Meta(max_length=128), SAFE]
Word = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=256)]

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
MemoryGB = Annotated[float, Meta(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Meta(ge=0, le=MAX_NUMBER)]
Celsius = Annotated[float, Meta(ge=-100, le=1000)]
Share = Annotated[float, Meta(ge=0, le=1)]

Tags = Annotated[list[Tag], Meta(max_length=64)]
Words = Annotated[list[Word], Meta(max_length=64)]
Capabilities = Annotated[list[Capability], Meta(max_length=256)]
MinerIds = Annotated[list[MinerId], Meta(max_length=1000)]

_PRICE_TEXT = re.compile(r"[+-]?[0-9]{1,64}(\.[0-9]{0,64})?([eE][+-]?[0-9]{1,3})?")


class Invalid(ValueError):
    """A value that a type or a struct's ``__post_init__`` refuses; it becomes a field error of that value."""

    def __init__(self, detail: str, *, code: str = "invalid_value") -> None:
        self.code = code
        super().__init__(detail)


class Tokens(Decimal):
    """An amount of tokens, 0 to HIGHEST: a JSON number, or the same as a string; exact, not yet rounded to 8 places."""

    __slots__ = ()

    HIGHEST: ClassVar[int] = MAX_NUMBER
    UNIT: ClassVar[str] = "Tokens"

    @classmethod
    def schema(cls) -> dict[str, Any]:
        digits = len(str(cls.HIGHEST)) - 1
        return {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": cls.HIGHEST},
                {"type": "string", "pattern": rf"^[0-9]{{1,{digits}}}(\.[0-9]{{1,8}})?$"},
            ],
            "description": f"{cls.UNIT}; a JSON number, or the same number as a string.",
        }

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise Invalid("Expected a number, or a number as a string", code="invalid_type")
        if isinstance(value, str) and not _PRICE_TEXT.fullmatch(value):
            raise Invalid("Expected a decimal number", code="invalid_format")
        price = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal(repr(value))
        if not price.is_finite() or not 0 <= price <= cls.HIGHEST:
            raise Invalid(f"Expected an amount from 0 to {cls.HIGHEST}", code="out_of_range")
        return cls(abs(price))


class Price(Tokens):
    """Tokens per 1,000 s."""

    __slots__ = ()

    HIGHEST = MAX_PRICE
    UNIT = "Tokens per 1,000 seconds of compute"


class Ratio(Tokens):
    """How many times something else."""

    __slots__ = ()

    UNIT = "A multiple, such as 1.1"


def price_units(price: Decimal) -> int:
    """Units of 10^-8 tokens, the half going to the even."""
    return int((price * PRICE_UNITS).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def price_number(units: int) -> float:
    """What is written in JSON for a price held in units."""
    return units / PRICE_UNITS


def decode_hook(kind: type, value: object) -> Any:
    if issubclass(kind, Tokens):
        return kind.parse(value)
    raise NotImplementedError(kind)


def encode_hook(value: object) -> Any:
    if isinstance(value, Tokens):
        return Decimal(value)
    raise NotImplementedError(type(value))


def schema_hook(kind: type) -> dict[str, Any]:
    if issubclass(kind, Tokens):
        return kind.schema()
    raise NotImplementedError(kind)
