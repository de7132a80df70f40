from decimal import Decimal
from typing import Any

from django import forms
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression

from poolhub.common.fields import price_units

PLACES = 8


class TokensField(models.Field):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    """Tokens, a Decimal with 8 places, exact on every database.

    Stored as a whole number of 1e-8 tokens, since SQLite keeps decimals as floats of 15 digits and a price may have
    17. The registry holds the same unit.
    """

    description = "tokens with 8 places"

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def from_db_value(
        self, value: int | None, expression: Expression, connection: BaseDatabaseWrapper
    ) -> Decimal | None:
        return None if value is None else tokens(value)

    def to_python(self, value: Any) -> Decimal | None:
        return None if value in (None, "") else Decimal(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return price_units(Decimal(value))

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        return super().formfield(
            **{"form_class": forms.DecimalField, "max_digits": 18, "decimal_places": PLACES, **kwargs}
        )


def tokens(units: int) -> Decimal:
    return Decimal(units).scaleb(-PLACES)
