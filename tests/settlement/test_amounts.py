"""Amounts on a chain are whole numbers, and never rounded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.backends.evm.amounts import MAX_UNITS, BadAmount, units_of

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("amount", "decimals", "units"),
    [
        ("0.25", 18, 250_000_000_000_000_000),
        ("0.00000001", 8, 1),
        ("1.50000000", 1, 15),
        ("3.00000000", 0, 3),
        ("999999999999.99999999", 18, 999_999_999_999_999_999_990_000_000_000),
        ("0.00000000", 6, 0),
    ],
)
def test_an_amount_becomes_so_many_units(amount, decimals, units) -> None:
    assert units_of(Decimal(amount), decimals) == units


@pytest.mark.parametrize(("amount", "decimals"), [("0.00000001", 7), ("0.12345678", 6), ("0.5", 0)])
def test_what_is_no_whole_number_of_units_is_refused(amount, decimals) -> None:
    with pytest.raises(BadAmount, match=f"1e-{decimals}"):
        units_of(Decimal(amount), decimals)


def test_what_no_token_can_hold_is_refused() -> None:
    with pytest.raises(BadAmount):
        units_of(Decimal(MAX_UNITS), 1)


@given(st.integers(0, 10**20), st.integers(0, 40))
def test_units_are_the_amount_exactly(hundred_millionths, decimals) -> None:
    amount = Decimal(hundred_millionths).scaleb(-8)
    exact = hundred_millionths * 10**decimals
    if exact % 10**8:
        with pytest.raises(BadAmount):
            units_of(amount, decimals)
    else:
        assert units_of(amount, decimals) == exact // 10**8
