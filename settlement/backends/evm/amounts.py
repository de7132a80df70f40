"""Amounts as a token's contract counts them: whole numbers of its smallest unit, without a float in between. Pure."""

from decimal import Decimal, localcontext

MAX_UNITS = 2**256 - 1
DIGITS = 120  # more than 10^12 tokens with 8 places have in any token's smallest units


class BadAmount(Exception):
    """The token has no such amount; the text says why."""


def units_of(amount: Decimal, decimals: int) -> int:
    """The amount in units of 10^-decimals. Raises BadAmount where that is no whole number: nothing is rounded."""
    with localcontext(prec=DIGITS):
        units = amount.scaleb(decimals)
        if units != units.to_integral_value():
            raise BadAmount(f"{amount.normalize():f} is no whole number of the token's smallest unit, 1e-{decimals}")
        if not 0 <= units <= MAX_UNITS:
            raise BadAmount(f"{amount:f} is out of the range of a token")
        return int(units)
