"""The database's own bounds, which hold whoever writes."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from miners.models import Miner, MinerCommand, MinerStatus, PriceOverride

pytestmark = pytest.mark.django_db


def refused(make) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make()


@pytest.mark.parametrize(
    "fields",
    [
        {"miner_id": ""}, {"proto": "gopher"}, {"price": Decimal("-0.00000001")}, {"price": Decimal("1000000000.1")},
        {"price_cap": -1}, {"gpu_vram": -1}, {"gpu_vram": 1e7}, {"ram_gb": -0.1}, {"gpu_count": 10**7}, {"cpu_cores": 10**7},
        {"max_parallel": 0}, {"max_parallel": 10_001}, {"trust_s": -1}, {"trust_f": -1}, {"latency_mean": -1},
        {"version": 0}, {"session": -1},
    ],
)  # fmt: skip
def test_no_miner_is_out_of_bounds(fields) -> None:
    refused(lambda: Miner.objects.create(**{"miner_id": "m1", **fields}))


def test_no_two_miners_have_one_id() -> None:
    Miner.objects.create(miner_id="m1")
    refused(lambda: Miner.objects.create(miner_id="m1"))
    Miner.objects.create(miner_id="M1")


@pytest.mark.parametrize(
    "fields",
    [
        {"queue_len": 10**7},
        {"jobs": 10**7},
        {"latency_ms": -1},
        {"temp_c": -101},
        {"temp_c": 1001},
        {"mem_free_gb": -1},
    ],
)
def test_no_status_is_out_of_bounds(fields) -> None:
    miner = Miner.objects.create(miner_id="m1")
    refused(lambda: MinerStatus.objects.create(miner=miner, **fields))


def test_an_override_ends_after_it_begins() -> None:
    miner, now = Miner.objects.create(miner_id="m1"), timezone.now()
    refused(lambda: PriceOverride.objects.create(miner=miner, price=1, valid_from=now, valid_until=now))
    refused(lambda: PriceOverride.objects.create(miner=miner, price=-1))
    PriceOverride.objects.create(miner=miner, price=1, valid_from=now, valid_until=now + timedelta(microseconds=1))


@pytest.mark.parametrize("fields", [{"name": "dance"}, {"name": "drain", "status": "lost"}])
def test_no_command_is_unknown(fields) -> None:
    miner = Miner.objects.create(miner_id="m1")
    refused(lambda: MinerCommand.objects.create(miner=miner, **fields))


@pytest.mark.parametrize("price", ["0", "0.00000001", "999999999.12345678", "1000000000"])
def test_a_price_is_exact_on_every_database(price) -> None:
    Miner.objects.create(miner_id="m1", price=Decimal(price), price_cap=price)
    miner = Miner.objects.get(price=Decimal(price), price_cap__gte=Decimal(price))
    assert (miner.price, miner.price_cap) == (Decimal(price), Decimal(price))


def test_prices_are_compared_and_ordered_as_numbers() -> None:
    for price in ("10", "9", "0.5"):
        Miner.objects.create(miner_id=price, price=Decimal(price))
    assert list(Miner.objects.filter(price__gt=1).order_by("price").values_list("miner_id", flat=True)) == ["9", "10"]


def test_json_lists_are_indexed_where_the_database_can() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Miner._meta.db_table)
    gin = {tuple(each["columns"]) for each in found.values() if each.get("type") == "gin"}
    assert gin == ({("accel",), ("tags",), ("capabilities",)} if connection.vendor == "postgresql" else set())
