"""Registry and database: loading, write-behind, restart."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from miners.models import Miner, MinerStatus
from miners.registry import loader, runtime, writeback
from miners.registry.records import Report
from miners.services.operators import miner_create, miner_disable, miner_set_price_cap, price_override_create
from poolhub.common import clock
from tests.miners.builders import post, register, stored, view
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def restart() -> None:
    """As after a clean stop: everything is written, and the next process loads it."""
    runtime.flush()
    made = runtime.new_registry()
    loader.load(made, now=clock.now())
    runtime.set_registry(made)


def everything(registry):
    return registry.page(now=clock.now(), limit=500)[0]


def test_a_restart_finds_the_same_pool(client, time) -> None:
    token = register(
        "m1", region="eu", gpu_vram=24.0, tags=["t", "u"], capabilities=["c"], accel=["cuda"], max_parallel=4
    )
    sent = {"queue_len": 2, "busy": True, "current_jobs": ["a"], "avg_latency_ms": 12.5, "temp_c": 61.5,
            "mem_free_gb": 5.25, "draining": True, "price_token_per_ksec": "0.12345678"}  # fmt: skip
    post(client, "/v1/miners/heartbeat", sent, token=token)
    register("m2", price_token_per_ksec=Decimal("999999999.12345678"))
    at = clock.to_datetime(time.now())
    price_override_create(miner_id="m2", price=Decimal("0.3"), valid_until=at + timedelta(hours=1))
    price_override_create(miner_id="m2", price=Decimal("0.2"), valid_from=at + timedelta(seconds=30))
    miner_set_price_cap(miner_id="m2", price=Decimal("0.25"))
    post(client, "/v1/miners/logout", token=register("m3"))
    register("m4")
    miner_disable(miner_id="m4")
    miner_create(miner_id="m5")
    Miner.objects.filter(miner_id="m1").update(
        trust_s=3.5, trust_f=1.25, latency_mean=33.3, latency_count=7, version=99
    )
    loader.miner_refresh(runtime.get_registry(), "m1")
    before = everything(runtime.get_registry())
    restart()
    assert everything(runtime.get_registry()) == before
    assert post(client, "/v1/miners/update", {}, token=token).status_code == 200


def test_a_restart_never_empties_the_pool(time) -> None:
    register("gone")
    time.advance(100)
    register("late")
    time.advance(70)
    register("here")
    runtime.flush()
    time.advance(50)
    restart()
    states = {found.row.miner_id: found.state for found in everything(runtime.get_registry())}
    assert states == {"gone": "offline", "late": "online", "here": "online"}  # silent for 220, 120 and 50 s
    time.advance(121)
    assert {found.state for found in everything(runtime.get_registry())} == {"offline"}


def test_a_crash_right_after_a_registration_loses_nothing(time) -> None:
    token = register(region="eu")
    before = view()
    made = runtime.new_registry()
    loader.load(made, now=time.now())
    runtime.set_registry(made)
    assert view() == before
    assert token


def test_reported_load_counts_in_full_after_a_restart(registry, time) -> None:
    """The reservations that explained a part of it are gone with the old process."""
    register(max_parallel=4)
    registry.add_own("m1", 2)
    registry.report("m1", Report(at=time.now(), queue_len=3))
    assert (view().live.own, view().live.foreign) == (2, 1)
    restart()
    assert (view().live.own, view().live.foreign) == (0, 3)


def test_a_miners_clock_still_orders_after_a_restart(registry, time) -> None:
    register()
    registry.report("m1", Report(at=time.now(), ts=time.now() + 5, queue_len=1))
    restart()
    assert not runtime.get_registry().report("m1", Report(at=time.now(), ts=time.now(), queue_len=2))
    assert view().live.queue_len == 1


def test_a_flush_writes_what_changed_once(registry, time, django_assert_num_queries) -> None:
    register("m1")
    register("m2")
    runtime.flush()
    time.advance(1)
    registry.report("m1", Report(at=time.now(), queue_len=1, temp_c=50))
    registry.report("m1", Report(at=time.now(), queue_len=2, latency_ms=7))
    behind = writeback.WriteBehind(registry)
    assert behind.flush() == 1
    status = MinerStatus.objects.get(miner_id="m1")
    assert (status.queue_len, status.temp_c, status.latency_ms, status.last_seen) == (
        2, 50, 7, clock.to_datetime(time.now()),
    )  # fmt: skip
    with django_assert_num_queries(0):
        assert behind.flush() == 0


def test_a_flush_that_fails_keeps_everything_for_the_next(registry, time, monkeypatch) -> None:
    register("m1")
    register("m2")
    runtime.flush()
    time.advance(1)
    behind = writeback.WriteBehind(registry)
    registry.report("m1", Report(at=time.now(), queue_len=1))
    registry.report("m2", Report(at=time.now(), queue_len=1))

    def away(rows) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as patched:
        patched.setattr(writeback, "_store", away)
        with pytest.raises(DatabaseError):
            behind.flush()
    registry.report("m2", Report(at=time.now(), queue_len=2))
    assert behind.flush() == 2
    assert dict(MinerStatus.objects.values_list("miner_id", "queue_len")) == {"m1": 1, "m2": 2}


def test_a_late_flush_overwrites_nothing_newer(registry, time) -> None:
    register()
    registry.report("m1", Report(at=time.now(), queue_len=9))
    behind = writeback.WriteBehind(registry)
    time.advance(1)
    MinerStatus.objects.update(last_seen=clock.to_datetime(time.now()), queue_len=1)
    behind.flush()
    assert MinerStatus.objects.get().queue_len == 1


def test_a_flush_passes_over_removed_miners(registry, time) -> None:
    register("m1")
    register("m2")
    time.advance(1)
    for name in ("m1", "m2"):
        registry.report(name, Report(at=time.now(), queue_len=1))
    Miner.objects.filter(miner_id="m1").delete()
    writeback.WriteBehind(registry).flush()
    assert list(MinerStatus.objects.values_list("miner_id", "queue_len")) == [("m2", 1)]


def test_nothing_unknown_is_refreshed(registry) -> None:
    assert not loader.miner_refresh(registry, "nobody")
    register()
    assert loader.miner_refresh(registry, "m1")
    assert stored().version == view().row.version


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_processes_that_store_the_same_miners_lock_them_in_one_order(registry, time) -> None:
    """Else two of them could each hold what the other waits for: one would lose its batch to a deadlock."""
    first, *others = (f"m{number}" for number in range(10, 50))
    names = [*others, first]  # which lies last in the table
    for name in names:
        register(name)
        runtime.flush()
    for name in names:
        registry.report(name, Report(at=time.now(), queue_len=1))

    def flush() -> None:
        try:
            writeback.WriteBehind(registry).flush()
        finally:
            connection.close()

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0])

    with transaction.atomic():
        assert MinerStatus.objects.select_for_update(no_key=True).get(miner_id=first)
        other = threading.Thread(target=flush)
        other.start()
        until(waits, what="the flush waits for the first row")
        free = MinerStatus.objects.select_for_update(no_key=True, skip_locked=True)
        assert len(free) == len(names)  # our own first one, and all others
    other.join()
    assert set(MinerStatus.objects.values_list("queue_len", flat=True)) == {1}
