from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from django import forms
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression

from poolhub.common.fields import MAX_NUMBER

DIGITS, PLACES = 21, 8
ONE_UNIT = Decimal(1).scaleb(-PLACES)
HIGHEST = Decimal(MAX_NUMBER)


class AmountField(models.Field):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    """An amount of tokens up to 10^12, a Decimal with 8 places, exact on every database.

    PostgreSQL has a type for it; SQLite would keep it as a float of 15 digits, so there it is text, padded so that it
    sorts as the number does.
    """

    description = "an amount of tokens with 8 places"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return f"numeric({DIGITS}, {PLACES})" if connection.vendor == "postgresql" else "text"

    def from_db_value(
        self, value: Decimal | str | None, expression: Expression, connection: BaseDatabaseWrapper
    ) -> Decimal | None:
        return None if value is None else Decimal(value)

    def to_python(self, value: Any) -> Decimal | None:
        return None if value in (None, "") else Decimal(value)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        amount = Decimal(value)
        if not (amount.is_finite() and 0 <= amount <= HIGHEST):  # NaN does not even compare
            raise ValueError(f"an amount is from 0 to {HIGHEST}, not {value}")
        amount = abs(amount.quantize(ONE_UNIT, ROUND_HALF_EVEN))  # there is no -0
        return amount if connection.vendor == "postgresql" else f"{amount:0{DIGITS + 1}f}"

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        return super().formfield(
            **{"form_class": forms.DecimalField, "max_digits": DIGITS, "decimal_places": PLACES, **kwargs}
        )
