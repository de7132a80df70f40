"""What the database computes, against what Python does."""

import statistics as slow
from datetime import date
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest

from market import statistics
from market.models import MarketDay
from miners.tokens import tokens
from tests.market.builders import feed, offer, tell

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("market")]
UNITS = 10**8


def percentile(prices: list[int], quarters: int) -> int:
    """As PostgreSQL's percentile_cont, exact, to the unit."""
    place = Fraction(quarters * (len(prices) - 1), 4)
    low, share = int(place), place - int(place)
    high = prices[min(low + 1, len(prices) - 1)]
    return round(prices[low] + share * (high - prices[low]))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 102, 500])
def test_quartiles_are_exact(count) -> None:
    random = Random(count)
    prices = sorted(random.choice((1, 10**7, random.randrange(1, 10**9), 10**17)) for _ in range(count))
    tell(*(offer("x1", str(tokens(price)), "eu") for price in random.sample(prices, count)))
    found = {each.region: each for each in statistics.spreads()}
    assert found.keys() == {"eu", "*"}
    for each in found.values():
        assert (each.count, each.low, each.high) == (count, prices[0], prices[-1])
        assert [each.q1, each.median, each.q3] == [percentile(prices, quarters) for quarters in (1, 2, 3)]
    assert found["eu"].median == round(Fraction(slow.median([Fraction(each) for each in prices])))


@pytest.mark.parametrize("count", [1, 2, 50, 101, 102, 1000])
def test_quantiles_are_all_prices_or_about_a_hundred_with_both_ends(count) -> None:
    tell(*(offer("x1", price) for price in range(1, count + 1)))
    found = statistics.quantiles()["x1", "eu"]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (UNITS, count * UNITS)
    assert len(found) == (min(count, 101))
    steps = {later - earlier for earlier, later in pairwise(found)}
    assert max(steps, default=0) - min(steps, default=0) <= UNITS


def test_models_regions_and_feeds_are_told_apart_and_put_together() -> None:
    tell(offer("x1", 1, "eu"), offer("x1", 2, "us"), offer("x2", 9, ""))
    tell(offer("x1", 4, "eu"), name="g")
    feed("never read")
    assert {(each.model, each.region): (each.count, each.median) for each in statistics.spreads()} == {
        ("x1", "eu"): (2, 5 * UNITS // 2), ("x1", "us"): (1, 2 * UNITS), ("x1", "*"): (3, 2 * UNITS),
        ("x2", ""): (1, 9 * UNITS), ("x2", "*"): (1, 9 * UNITS),
    }  # fmt: skip


def test_the_trend_is_the_slope_of_the_days_medians() -> None:
    today = date(2027, 1, 15).toordinal()
    rows = {"up": [10, 11, 12, 13], "flat": [5, 5, 5], "short": [5], "down": [4, 2]}
    for model, prices in rows.items():
        for ago, price in enumerate(reversed(prices)):
            MarketDay.objects.create(day=today - ago, model=model, region="", count=1, q1=price, median=price, q3=price)
    MarketDay.objects.create(day=today - 40, model="short", region="", count=1, q1=1, median=1, q3=1)
    found = statistics.trends(today)
    assert found.keys() == {("up", ""), ("flat", ""), ("down", "")}
    assert found["up", ""] == pytest.approx(30 * 1 / 11.5)
    assert found["flat", ""] == pytest.approx(0)
    assert found["down", ""] == pytest.approx(30 * -2 / 3)


def test_a_day_s_last_look_is_its_history(fake_clock) -> None:
    tell(offer("x1", 1))
    tell(offer("x1", 2))
    fake_clock.advance(86_400)
    tell(offer("x1", 3))
    days = MarketDay.objects.filter(model="x1", region="eu").order_by("day")
    assert [(each.date, int(each.median)) for each in days] == [(date(2027, 1, 15), 2), (date(2027, 1, 16), 3)]
