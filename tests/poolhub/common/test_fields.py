"""The types of request fields, with the contract's limits."""

import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhub.common import fields
from poolhub.common.fields import (
    MAX_PRICE,
    PRICE_UNITS,
    Invalid,
    Price,
    Tokens,
    decode_hook,
    encode_hook,
    price_number,
    price_units,
    schema_hook,
)
from tests.effort import effort

pytestmark = pytest.mark.pure


def taken(kind: Any, value: Any) -> bool:
    try:
        msgspec.json.decode(json.dumps(value), type=kind, dec_hook=decode_hook)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.MinerId, ["a", "A.z_0:9-", "x" * 64], ["", "x" * 65, "a b", "a\n", "é", "a/b", "\0", 5, None]),
        (fields.JobId, ["a", " ", "é" * 128, "/"], ["", "x" * 129, 5, None]),
        (fields.Region, ["", "eu-west", "x" * 64], ["x" * 65, 1]),
        (fields.Tag, ["", "x" * 64], ["x" * 65]),
        (fields.Capability, ["x" * 128], ["x" * 129]),
        (fields.Text, ["", "x" * 256], ["x" * 257]),
        (fields.Count, [0, 10**6], [-1, 10**6 + 1, 1.5, True, "1", 10**30]),
        (fields.MemoryGB, [0, 0.5, 10**6], [-0.1, 10**6 + 0.1, True, "1"]),
        (fields.Number, [0, 10**12], [-1, 1e12 + 1, True, "1"]),
        (fields.Celsius, [-100, 0, 1000], [-100.1, 1000.1, False]),
        (fields.Share, [0, 0.5, 1], [-0.1, 1.1, True]),
        (fields.Tags, [[], ["a"] * 64], [["a"] * 65, ["x" * 65], "a", [1]]),
        (fields.Capabilities, [["a"] * 256], [["a"] * 257]),
        (fields.MinerIds, [["a"] * 1000], [["a"] * 1001, ["a b"]]),
        (fields.Price, [0, 0.1, "0.1", 10**9], [-1, 10**9 + 1, True, "x", None, [], {}]),
        (fields.Tokens, [0, 10**12, "1e12"], [-1, 10**12 + 1, "-0.1"]),
    ],
)
def test_what_is_within_the_limits_is_taken_and_nothing_else(kind, good, bad) -> None:
    assert [value for value in good if not taken(kind, value)] == []
    assert [value for value in bad if taken(kind, value)] == []


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (0, "0"), (1, "1"), (0.1, "0.1"), (1e-8, "0.00000001"), (0.30000000000000004, "0.30000000000000004"),
        ("0.1", "0.1"), ("+0.1", "0.1"), ("007", "7"), ("1.", "1"), ("1e3", "1000"), ("1E-3", "0.001"), ("-0", "0"),
        (-0.0, "0"), (10**9, "1000000000"), ("1000000000.00000000", "1000000000"), (Decimal("0.5"), "0.5"),
        ("1e-999", "1e-999"),
    ],
)  # fmt: skip
def test_a_price_is_the_number_that_was_written(value, price) -> None:
    found = Price.parse(value)
    assert found == Decimal(price)
    assert (type(found), found.is_signed()) == (Price, False)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "invalid_type"), (None, "invalid_type"), ([], "invalid_type"), ({}, "invalid_type"), (b"1", "invalid_type"),
        ("", "invalid_format"), (" 1", "invalid_format"), ("1 ", "invalid_format"), ("1\n", "invalid_format"),
        (".5", "invalid_format"), ("1,5", "invalid_format"), ("1_0", "invalid_format"), ("0x1", "invalid_format"),
        ("NaN", "invalid_format"), ("Infinity", "invalid_format"), ("١", "invalid_format"), ("1e9999", "invalid_format"),
        ("9" * 65, "invalid_format"), ("-0.00000001", "out_of_range"), (-1, "out_of_range"), (-1e-300, "out_of_range"),
        ("1000000000.00000001", "out_of_range"), (10**400, "out_of_range"), ("1e999", "out_of_range"),
        (math.inf, "out_of_range"), (math.nan, "out_of_range"), (Decimal("NaN"), "out_of_range"),
        (Decimal("sNaN"), "out_of_range"),
    ],
)  # fmt: skip
def test_what_is_no_price_says_why(value, code) -> None:
    with pytest.raises(Invalid) as caught:
        Price.parse(value)
    assert caught.value.code == code


@effort(300)
@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.binary())
def test_anything_is_a_price_within_its_limits_or_invalid(value: object) -> None:
    try:
        found = Price.parse(value)
    except Invalid:
        return
    assert 0 <= found <= MAX_PRICE
    assert 0 <= price_units(found) <= MAX_PRICE * PRICE_UNITS


@pytest.mark.parametrize(
    ("price", "units"),
    [("0", 0), ("0.00000001", 1), ("0.000000005", 0), ("0.000000015", 2), ("0.0000000150001", 2), ("0.1", 10**7),
     ("999999999.99999999", 10**17 - 1), ("1e9", 10**17)],
)  # fmt: skip
def test_units_are_the_eight_places_the_half_going_to_the_even(price, units) -> None:
    assert price_units(Decimal(price)) == units


@effort(300)
@given(st.integers(0, 10**15))
def test_a_price_is_written_as_it_is_read(units: int) -> None:
    """Up to ten million tokens, which a double holds to 8 places."""
    assert price_units(Price.parse(price_number(units))) == units


def test_the_hooks_know_amounts_and_nothing_else() -> None:
    assert decode_hook(Tokens, "1.5") == encode_hook(Tokens("1.5")) == Decimal("1.5")
    assert type(encode_hook(Price("1.5"))) is Decimal
    for call in (lambda: decode_hook(int, 1), lambda: encode_hook(1), lambda: schema_hook(int)):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize(("kind", "highest", "digits"), [(Price, 10**9, 9), (Tokens, 10**12, 12)])
def test_the_schema_of_an_amount_says_number_or_text(kind, highest, digits) -> None:
    number, text = schema_hook(kind)["anyOf"]
    assert number == {"type": "number", "minimum": 0, "maximum": highest}
    assert text["pattern"] == rf"^[0-9]{{1,{digits}}}(\.[0-9]{{1,8}})?$"
