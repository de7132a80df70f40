"""Medians, quartiles and trends, computed by the database: window functions that PostgreSQL and SQLite have alike.

Prices are whole units, so the sums here are exact. A quartile lies between two prices as percentile_cont has it: at
q·(n − 1) of the sorted prices, a quarter of the way at the most; it comes out in quarters of a unit.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from django.db import connection

from market.models import ALL_REGIONS, MarketDay, MarketPrice, PriceFeed

TREND_DAYS = 30
GRID = 100

PRICES, FEEDS, DAYS = MarketPrice._meta.db_table, PriceFeed._meta.db_table, MarketDay._meta.db_table

RANKED = f"""
WITH told AS (
    SELECT p.model, p.region, p.price FROM {PRICES} p JOIN {FEEDS} f ON f.id = p.feed_id AND f.batch = p.batch
    WHERE f.enabled
), everywhere AS (
    SELECT model, region, price FROM told UNION ALL SELECT model, '{ALL_REGIONS}', price FROM told
), ranked AS (
    SELECT model, region, price,
        row_number() OVER (PARTITION BY model, region ORDER BY price) AS place,
        count(*) OVER (PARTITION BY model, region) AS number
    FROM everywhere
)"""


def _quarter(k: int) -> str:
    """Four times the k-th quartile."""
    return f"""sum(CASE
        WHEN place = {k} * (number - 1) / 4 + 1 THEN price * (4 - ({k} * (number - 1)) % 4)
        WHEN place = {k} * (number - 1) / 4 + 2 THEN price * (({k} * (number - 1)) % 4)
        ELSE 0 END)"""


QUARTILES = f"""{RANKED}
SELECT model, region, max(number), min(price), {_quarter(1)}, {_quarter(2)}, {_quarter(3)}, max(price)
FROM ranked GROUP BY model, region"""

QUANTILES = f"""{RANKED}
SELECT model, region, price FROM ranked
WHERE number <= {GRID} + 1 OR place = 1
    OR (place - 1) * {GRID} / nullif(number - 1, 0) <> (place - 2) * {GRID} / nullif(number - 1, 0)
ORDER BY model, region, place"""

# least squares over the days' medians, relative to their mean
TRENDS = f"""
WITH days AS (
    SELECT model, region, CAST(day - %s AS double precision) AS x, CAST(median AS double precision) AS y
    FROM {DAYS} WHERE day >= %s
)
SELECT model, region,
    {TREND_DAYS} * (count(*) * sum(x * y) - sum(x) * sum(y)) / (count(*) * sum(x * x) - sum(x) * sum(x)) / avg(y)
FROM days GROUP BY model, region HAVING count(*) >= 2 AND avg(y) > 0"""


@dataclass(frozen=True, slots=True)
class Spread:
    """Units of 1e-8 tokens per 1,000 s; quartiles to the unit, the half going to the even."""

    model: str
    region: str
    count: int
    low: int
    q1: int
    median: int
    q3: int
    high: int


def spreads() -> list[Spread]:
    """Of the prices that count, by model and region, and by model over all regions."""
    with connection.cursor() as cursor:
        cursor.execute(QUARTILES)
        rows = cursor.fetchall()
    return [
        Spread(model, region, int(count), int(low), _rounded(q1), _rounded(median), _rounded(q3), int(high))
        for model, region, count, low, q1, median, q3, high in rows
    ]


def quantiles() -> dict[tuple[str, str], list[int]]:
    """Prices ascending, all or about GRID of them."""
    found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for model, region, price in _rows(QUANTILES):
        found[model, region].append(int(price))
    return found


def trends(today: int) -> dict[tuple[str, str], float]:
    """The change of the median in TREND_DAYS, as a share, by the days up to today."""
    first = today - TREND_DAYS
    with connection.cursor() as cursor:
        cursor.execute(TRENDS, [first, first])
        return {(model, region): float(trend) for model, region, trend in cursor.fetchall() if trend is not None}


def _rows(statement: str) -> Iterator[tuple[str, str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        yield from cursor.fetchall()


def _rounded(quarters: int | Decimal) -> int:
    """A quarter of it, the half going to the even."""
    return round(Fraction(int(quarters), 4))
