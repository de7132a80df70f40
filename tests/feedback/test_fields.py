"""AmountField: exact on both storages, compared and sorted as numbers."""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from feedback.fields import HIGHEST, AmountField
from feedback.models import Feedback
from miners.models import Miner
from tests.effort import effort

pytestmark = pytest.mark.django_db

EXACT = [
    "0",
    "0.00000001",
    "0.1",
    "1",
    "9.99999999",
    "10",
    "123456789.12345678",
    "999999999999.99999999",
    "1000000000000",
]


def keep(*amounts: str | float | Decimal | None) -> None:
    miner, _ = Miner.objects.get_or_create(miner_id="m1")
    for amount in amounts:
        Feedback.objects.create(job_id=f"j{amount}", miner=miner, outcome="completed", tokens_spent=amount)


def kept() -> list[Decimal | None]:
    return list(Feedback.objects.order_by("id").values_list("tokens_spent", flat=True))


def test_amounts_come_back_exactly() -> None:
    keep(*map(Decimal, EXACT))
    assert kept() == list(map(Decimal, EXACT))
    assert all(each.as_tuple().exponent == -8 for each in kept())


@pytest.mark.parametrize(
    ("given", "stored"),
    [("1.5", "1.5"), (2, "2"), (0.1, "0.1"), (Decimal("1E+3"), "1000"), ("0.000000005", "0"), ("0.000000015", "0.00000002"),
     ("-0", "0"), (None, None)],
)  # fmt: skip
def test_what_is_given_is_rounded_to_eight_places(given, stored) -> None:
    keep(given)
    assert kept() == [None if stored is None else Decimal(stored)]


def test_they_sort_as_numbers_do() -> None:
    keep(*reversed(EXACT))
    found = Feedback.objects.order_by("tokens_spent").values_list("tokens_spent", flat=True)
    assert list(found) == list(map(Decimal, EXACT))


@pytest.mark.parametrize("limit", EXACT)
def test_they_compare_as_numbers_do(limit) -> None:
    keep(*EXACT)
    amount, amounts = Decimal(limit), list(map(Decimal, EXACT))
    assert Feedback.objects.filter(tokens_spent=amount).count() == 1
    assert Feedback.objects.filter(tokens_spent__lt=amount).count() == sum(each < amount for each in amounts)
    assert Feedback.objects.filter(tokens_spent__gte=limit).count() == sum(each >= amount for each in amounts)
    assert Feedback.objects.filter(tokens_spent__in=[amount, 5]).count() == 1


def test_nothing_known_is_null() -> None:
    keep(None, "0")
    assert Feedback.objects.filter(tokens_spent__isnull=True).count() == 1


def test_a_column_is_copied_as_it_is() -> None:
    keep("0.10000001")
    Feedback.objects.update(tokens_spent=F("tokens_spent"))
    assert kept() == [Decimal("0.10000001")]


@pytest.mark.parametrize(
    "amount",
    ["-0.00000001", "-1", "1000000000000.00000001", "1e13", "1e999", "-1e999", "NaN", "sNaN", "Infinity", float("nan")],
)
def test_what_is_no_amount_is_refused_before_the_database(amount) -> None:
    with pytest.raises(ValueError, match="an amount is from 0 to 1000000000000"), transaction.atomic():
        keep(amount)
    assert kept() == []


def test_the_column_fits_each_database() -> None:
    wanted = {"postgresql": "numeric(21, 8)", "sqlite": "text"}[connection.vendor]
    assert AmountField().db_type(connection) == wanted


@effort(100)
@given(st.decimals(0, HIGHEST, places=8))
def test_every_amount_survives_the_way_to_the_column_and_back(amount: Decimal) -> None:
    field = AmountField()
    stored = field.get_db_prep_value(amount, connection)
    assert field.from_db_value(stored, F("tokens_spent"), connection) == amount


@effort(100)
@given(st.decimals(0, HIGHEST, places=8), st.decimals(0, HIGHEST, places=8))
def test_the_column_orders_as_the_amounts_do(one: Decimal, two: Decimal) -> None:
    field = AmountField()
    stored_one, stored_two = (field.get_db_prep_value(each, connection) for each in (one, two))
    assert (stored_one < stored_two) == (one < two)
    assert (stored_one == stored_two) == (one == two)


def test_it_is_a_decimal_in_forms_and_fixtures() -> None:
    field = Feedback._meta.get_field("tokens_spent")
    form = field.formfield()
    assert form.clean("999999999999.99999999") == Decimal("999999999999.99999999")
    for wrong in ("1.123456789", "-", "x"):
        with pytest.raises(ValidationError):
            form.clean(wrong)
    assert field.value_to_string(Feedback(tokens_spent=Decimal("0.10"))) == "0.10"
    assert field.value_to_string(Feedback()) == ""
    assert (field.to_python("0.10"), field.to_python(""), field.to_python(None)) == (Decimal("0.10"), None, None)
