"""The table of round-trip times: what operators say, what miners measure, and what a match makes of it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from access.models import Change
from miners.models import RegionProbe, RoundTrip
from miners.regions import table
from miners.regions.table import round_trip_remove, round_trip_set, round_trips_load, round_trips_measure
from miners.registry import runtime
from miners.registry.roundtrips import UNKNOWN_MS
from miners.services.operators import miner_disable
from poolhub.common import clock
from poolhub.common.errors import ValidationFailed
from tests.miners.builders import register
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def between(region: str, other: str) -> float:
    return runtime.get_registry().roundtrips.between(region, other)


def probe(miner_id: str, region: str, other: str, rtt_ms: float, *, age_s: float = 0.0) -> None:
    RegionProbe.objects.create(
        miner_id=miner_id, region=region, other=other, rtt_ms=rtt_ms, at=clock.to_datetime(clock.now() - age_s)
    )


def rows() -> list[tuple[Any, ...]]:
    return list(RoundTrip.objects.values_list("region", "other", "operator_ms", "rtt_ms", "miners"))


def test_an_operators_value_counts_at_once_in_either_order_and_is_logged() -> None:
    assert between("us", "eu") == UNKNOWN_MS
    made = round_trip_set(region="us", other="eu", operator_ms=80.0)
    assert between("us", "eu") == between("eu", "us") == 80.0
    round_trip_set(region="eu", other="us", operator_ms=90.0)
    assert rows() == [("eu", "us", 90.0, 90.0, 0)]
    round_trip_remove(row=RoundTrip.objects.get())
    assert between("us", "eu") == UNKNOWN_MS
    told = Change.objects.filter(object_pk=str(made.pk)).order_by("id").values_list("action", "before", "after")
    assert list(told) == [
        ("set", {"operator_ms": None}, {"operator_ms": 80.0}),
        ("set", {"operator_ms": 80.0}, {"operator_ms": 90.0}),
        ("removed", {"operator_ms": 90.0}, {}),
    ]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"region": ""}, "region"),
        ({"other": "x" * 65}, "other"),
        ({"other": "eu"}, "other"),
        ({"region": "e\u202eu"}, "region"),
        ({"operator_ms": -1.0}, "operator_ms"),
        ({"operator_ms": 10_001.0}, "operator_ms"),
        ({"operator_ms": float("nan")}, "operator_ms"),
    ],
)
def test_what_is_no_pair_or_no_time_is_refused(asked, field) -> None:
    with pytest.raises(ValidationFailed) as refused:
        round_trip_set(**{"region": "eu", "other": "us", "operator_ms": 80.0, **asked})
    assert field in {each.field for each in refused.value.errors}
    assert rows() == []


def test_what_enough_miners_measured_counts_from_either_end() -> None:
    for number, ms in enumerate((78.0, 80.0)):
        probe(f"m{number}", "eu", "us", ms)
    assert round_trips_measure() == 0
    probe("m2", "us", "eu", 82.0)
    assert round_trips_measure() == 1
    assert rows() == [("eu", "us", None, 80.0, 3)]
    assert between("eu", "us") == 80.0
    assert round_trips_measure() == 0


def test_a_miner_has_one_voice_in_a_pair() -> None:
    for number in range(4):
        probe(f"m{number}", "eu", "us", 80.0)
    probe("liar", "eu", "us", 87.0)
    probe("liar-2", "us", "eu", 87.0)
    RegionProbe.objects.create(miner_id="liar", region="us", other="eu", rtt_ms=87.0, at=clock.to_datetime(clock.now()))
    round_trips_measure()
    assert rows() == [("eu", "us", None, pytest.approx((4 * 80 + 2 * 87) / 6), 6)]


def test_an_operators_value_is_refined_and_refines_at_once() -> None:
    for number in range(3):
        probe(f"m{number}", "eu", "us", 84.0)
    round_trip_set(region="eu", other="us", operator_ms=80.0)
    assert rows() == [("eu", "us", 80.0, 82.0, 3)]
    round_trip_set(region="eu", other="us", operator_ms=None)
    assert rows() == [("eu", "us", None, 84.0, 3)]


def test_old_probes_and_those_of_disabled_miners_count_for_nothing() -> None:
    register("m0")
    for number in range(3):
        probe(f"m{number}", "eu", "us", 80.0)
        probe(f"old{number}", "eu", "asia", 80.0, age_s=table.KEPT_S + 60)
    miner_disable(miner_id="m0")
    round_trips_measure()
    assert rows() == []
    assert not RegionProbe.objects.filter(other="asia").exists()


def test_a_pair_that_nobody_measures_any_more_goes_and_an_operators_stays() -> None:
    for number in range(3):
        probe(f"m{number}", "eu", "us", 80.0)
        probe(f"n{number}", "eu", "asia", 90.0)
    round_trip_set(region="asia", other="eu", operator_ms=100.0)
    round_trips_measure()
    assert len(rows()) == 2
    RegionProbe.objects.all().delete()
    assert round_trips_measure() == 2
    assert rows() == [("asia", "eu", 100.0, 100.0, 0)]
    assert between("eu", "us") == UNKNOWN_MS


def test_a_registry_that_is_loaded_anew_has_the_table() -> None:
    round_trip_set(region="eu", other="us", operator_ms=80.0)
    fresh = runtime.new_registry()
    round_trips_load(fresh)
    assert fresh.roundtrips.between("us", "eu") == 80.0


def test_a_change_that_is_rolled_back_reaches_nobody() -> None:
    with transaction.atomic():
        round_trip_set(region="eu", other="us", operator_ms=80.0)
        transaction.set_rollback(True)
    assert len(runtime.get_registry().roundtrips) == 0
    assert rows() == []


def test_who_has_read_before_a_change_does_not_take_its_place_after_it(monkeypatch) -> None:
    round_trip_set(region="eu", other="us", operator_ms=80.0)
    reached, read, go = table._stored, threading.Event(), threading.Event()

    def slowly() -> Any:
        found = reached()
        if not read.is_set():
            read.set()
            assert go.wait(10)
        return found

    def in_thread(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    monkeypatch.setattr(table, "_stored", slowly)
    early = in_thread(lambda: round_trips_load(runtime.get_registry()))
    assert read.wait(10)
    late = in_thread(lambda: round_trip_set(region="eu", other="us", operator_ms=90.0))
    until(lambda: RoundTrip.objects.get().operator_ms == 90.0)
    late.join(0.2)  # time enough to come first, where nothing holds it
    go.set()
    early.join()
    late.join()
    assert between("eu", "us") == 90.0
