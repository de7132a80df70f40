"""A feed's JSON read by JMESPath: exact, and patient with bad rows."""

from decimal import Decimal
from typing import Any

import pytest

from market.feeds import parsed
from market.mapping import BadFeed, Mapped, Paths, Unit, mapped

pytestmark = pytest.mark.pure
NOW = 1_800_000_000.0
UNITS = {"usd/hour": Unit(Decimal("2.5"), 3600), "token/ksec": Unit(Decimal(1), 1000)}
PATHS = {
    "rows": "data.offers",
    "model": "gpu.name",
    "region": "geo",
    "price": "dph",
    "unit": "'usd/hour'",
    "as_of": "seen",
}


def read(content: bytes, **paths: str) -> Mapped:
    return mapped(parsed(content), Paths(**{**PATHS, **paths}), UNITS, now=NOW)


def one(row: str, **paths: str) -> Any:
    (found,) = read(b'{"data": {"offers": [' + row.encode() + b"]}}", **paths).rows
    return found


def test_a_row_is_what_the_expressions_find() -> None:
    found = one('{"gpu": {"name": "RTX 4090"}, "geo": "EU West", "dph": 0.36, "seen": "2027-01-15T07:00:00Z"}')
    assert (found.model, found.region, found.as_of) == ("4090", "eu-west", NOW - 3600)
    assert found.price == 25_000_000  # 0.36 USD/h × 2.5 tokens × 1000 s / 3600 s = 0.25 tokens


@pytest.mark.parametrize(
    ("said", "unit", "units"),
    [
        ("0.1", "token/ksec", 10_000_000),
        ('"0.10000000"', "token/ksec", 10_000_000),
        ("123456789.12345678", "token/ksec", 12_345_678_912_345_678),
        ("0.000000005", "token/ksec", 0),  # the half goes to the even
        ("1", "usd/hour", 69_444_444),  # 2.5 / 3.6
        ("1e-8", "token/ksec", 1),
        ("1000000000", "token/ksec", 10**17),
    ],
)
def test_prices_are_exact(said, unit, units) -> None:
    assert one(f'{{"gpu": {{"name": "x1"}}, "dph": {said}, "seen": 1}}', unit=f"'{unit}'").price == units


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("1799996400", NOW - 3600),
        ("1799996400.5", NOW - 3599.5),
        ('"2027-01-15T08:00:00+01:00"', NOW - 3600),
        ('"2027-01-15T07:00:00"', NOW - 3600),
    ],
)
def test_times_are_read(said, at) -> None:
    assert one(f'{{"gpu": {{"name": "x1"}}, "dph": 1, "seen": {said}}}').as_of == at


def test_what_is_left_out_has_its_default() -> None:
    found = one('{"gpu": {"name": "x1"}, "dph": 1}', region="", as_of="")
    assert (found.region, found.as_of) == ("", NOW)


def test_an_expression_may_reckon_and_choose() -> None:
    content = b'[{"n": "H100", "p": {"spot": 3, "list": 4}}, {"n": "H100", "p": {"spot": null, "list": 4}}]'
    found = read(content, rows="", model="n", region="", price="p.spot || p.list", unit="'token/ksec'", as_of="")
    assert [each.price for each in found.rows] == [3 * 10**8, 4 * 10**8]


GOOD = '{"gpu": {"name": "x1"}, "dph": 1, "seen": 1, "geo": "eu"}'


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"gpu": {"name": null}, "dph": 1, "seen": 1}', "the GPU model is no text"),
        ('{"gpu": {"name": "™"}, "dph": 1, "seen": 1}', "the GPU model says nothing"),
        ('{"gpu": {"name": "a\\u0000b"}, "dph": 1, "seen": 1}', "the GPU model is too long, or cannot be printed"),
        ('{"gpu": {"name": "x1"}, "dph": null, "seen": 1}', "the price is no number"),
        ('{"gpu": {"name": "x1"}, "dph": true, "seen": 1}', "the price is no number"),
        ('{"gpu": {"name": "x1"}, "dph": "NaN", "seen": 1}', "the price is not above 0"),
        ('{"gpu": {"name": "x1"}, "dph": "x", "seen": 1}', "the price is no number"),
        ('{"gpu": {"name": "x1"}, "dph": 0, "seen": 1}', "the price is not above 0"),
        ('{"gpu": {"name": "x1"}, "dph": -1, "seen": 1}', "the price is not above 0"),
        ('{"gpu": {"name": "x1"}, "dph": 1e11, "seen": 1}', "the price is too high"),
        ('{"gpu": {"name": "x1"}, "dph": 1e400, "seen": 1}', "the price is not above 0"),
        ('{"gpu": {"name": "x1"}, "dph": 1, "seen": "yesterday"}', "the time is no time"),
        ('{"gpu": {"name": "x1"}, "dph": 1, "seen": 1900000000}', "the time is ahead"),
        ('{"gpu": {"name": "x1"}, "dph": 1, "seen": 1, "geo": "*"}', "the region has a *"),
        ("7", "the GPU model is no text"),
        ("[]", "the GPU model is no text"),
    ],
)  # fmt: skip
def test_a_bad_row_is_passed_over_with_its_reason_and_the_others_stand(row, reason) -> None:
    found = read(f'{{"data": {{"offers": [{row}, {GOOD}]}}}}'.encode())
    assert len(found.rows) == 1
    assert found.passed_over == {reason: 1}


def test_an_unknown_unit_is_no_price() -> None:
    with pytest.raises(BadFeed, match="no row can be used: the unit is not known"):
        one(GOOD, unit="'eur/hour'")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"[NaN]", b'{"a": Infinity}'])
def test_what_is_no_json_is_refused(content) -> None:
    with pytest.raises(BadFeed, match="it is no JSON"):
        parsed(content)


@pytest.mark.parametrize("content", [b"{}", b'{"data": {"offers": {}}}', b'{"data": null}', b"7"])
def test_a_document_without_the_rows_is_refused(content) -> None:
    with pytest.raises(BadFeed):
        read(content)


def test_an_empty_list_is_no_market() -> None:
    with pytest.raises(BadFeed, match="it has no rows"):
        read(b'{"data": {"offers": []}}')


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(BadFeed, match="more than 50000"):
        read(b'{"data": {"offers": [' + b"1," * 50_000 + b"1]}}")


def test_an_expression_for_the_rows_that_fails_is_told() -> None:
    with pytest.raises(BadFeed, match=r"'sort\(@\)' fails: JMESPathTypeError"):
        one(GOOD, rows="sort(@)")


@pytest.mark.parametrize("expression", ["a[", "]", "a b", "foo(", "!" * 2000 + "a", f"a[{'9' * 5000}]"])
def test_what_is_no_jmespath_is_refused(expression) -> None:
    with pytest.raises(BadFeed, match="is no JMESPath"):
        one(GOOD, price=expression)
