"""A feed's JSON as prices, by JMESPath. Pure: nothing is fetched and nothing is stored.

A row that cannot be read is passed over and counted with its reason; the rest stands.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from market.names import MAX_NAME, model_of, region_of
from poolhub.common.fields import MAX_PRICE, PRICE_UNITS

MAX_ROWS = 50_000
MAX_AHEAD_S = 86_400.0  # a price of later than tomorrow is none
KSEC = 1000


class BadFeed(ValueError):
    """Nothing of the feed can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """JMESPath expressions: rows gives the list, the others are asked of each row. "" = not there."""

    rows: str
    model: str
    region: str
    price: str
    unit: str
    as_of: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What a price of 1 is worth: so many tokens for so many seconds of compute."""

    tokens: Decimal
    seconds: int

    def price(self, amount: Decimal) -> int:
        """Registry units (1e-8 tokens) per 1,000 s, the half going to the even."""
        exact = amount * self.tokens * KSEC * PRICE_UNITS / self.seconds
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


@dataclass(frozen=True, slots=True)
class Observed:
    model: str
    region: str  # "" = the feed names none
    price: int  # registry units
    as_of: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class Mapped:
    rows: list[Observed]
    passed_over: Counter[str]  # by reason


def compiled(expression: str) -> ParsedResult:
    """BadFeed where it is no JMESPath."""
    try:
        return jmespath.compile(expression)
    except (JMESPathError, ValueError, RecursionError) as error:  # of a number, or nesting, without end
        raise BadFeed(f"{expression!r} is no JMESPath expression: {' '.join(str(error).split())}") from None


def mapped(content: Any, paths: Paths, units: Mapping[str, Unit], *, now: float) -> Mapped:
    """The prices of a feed's JSON (with numbers as Decimal). BadFeed where no row can be used."""
    try:
        found = _ask(compiled(paths.rows or "@"), content)
    except _BadRow as error:
        raise BadFeed(str(error)) from None
    if not isinstance(found, list):
        raise BadFeed("the expression for the rows gives no list")
    if len(found) > MAX_ROWS:
        raise BadFeed(f"it has {len(found)} rows, more than {MAX_ROWS}")
    reader = _Reader(paths, units, now)
    rows: list[Observed] = []
    passed_over: Counter[str] = Counter()
    for row in found:
        try:
            rows.append(reader.read(row))
        except _BadRow as error:
            passed_over[str(error)] += 1
    if not rows:
        told = ", ".join(f"{reason} ({count})" for reason, count in passed_over.most_common(3))
        raise BadFeed(f"no row can be used: {told}" if told else "it has no rows")
    return Mapped(rows, passed_over)


class _BadRow(ValueError):
    pass


class _Reader:
    def __init__(self, paths: Paths, units: Mapping[str, Unit], now: float) -> None:
        self._model, self._price, self._unit = map(compiled, (paths.model, paths.price, paths.unit))
        self._region = compiled(paths.region) if paths.region else None
        self._as_of = compiled(paths.as_of) if paths.as_of else None
        self._units, self._now = units, now

    def read(self, row: Any) -> Observed:
        model = model_of(_text(_ask(self._model, row), "GPU model"))
        if not model:
            raise _BadRow("the GPU model says nothing")
        region = "" if self._region is None else _ask(self._region, row)
        region = region_of(_text(region, "region")) if region else ""
        if "*" in region:
            raise _BadRow("the region has a *")
        unit = self._units.get(_text(_ask(self._unit, row), "unit").strip().lower())
        if unit is None:
            raise _BadRow("the unit is not known")
        price = unit.price(_amount(_ask(self._price, row)))
        if price > MAX_PRICE * PRICE_UNITS:
            raise _BadRow("the price is too high")
        as_of = self._now if self._as_of is None else _time(_ask(self._as_of, row))
        if as_of > self._now + MAX_AHEAD_S:
            raise _BadRow("the time is ahead")
        return Observed(model, region, price, as_of)


def _ask(expression: ParsedResult, value: Any) -> Any:
    try:
        return expression.search(value)
    except (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise _BadRow(f"{expression.expression!r} fails: {type(error).__name__}") from None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise _BadRow(f"the {what} is no text")
    text = str(value)
    if not text.isprintable() or len(text) > 4 * MAX_NAME:
        raise _BadRow(f"the {what} is too long, or cannot be printed")
    return text


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise _BadRow("the price is no number")
    try:
        amount = Decimal(value) if not isinstance(value, float) else Decimal(repr(value))
    except InvalidOperation:
        raise _BadRow("the price is no number") from None
    if not amount.is_finite() or not 0 < amount <= 10**12:
        raise _BadRow("the price is not above 0")
    return amount


def _time(value: Any) -> float:
    """RFC 3339 (UTC where it has no offset), or seconds since 1970."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and 0 <= value < 10**11:
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise _BadRow("the time is no time")
