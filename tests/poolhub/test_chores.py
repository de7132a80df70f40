"""The chores of a cluster, claimed in a real Valkey."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from poolhub import chores, devservers
from poolhub.chores import Chore, Worker
from poolhub.common import redis
from poolhub.common.metrics import CHORES
from tests.hub import ROOT, hub_environment

pytestmark = pytest.mark.pure  # the Valkey is this module's own
GOES_ON = threading.Event()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with devservers.beside("valkey") as found:
        yield found["valkey"]


@pytest.fixture
def client(url) -> Iterator[Redis]:
    with Redis.from_url(url) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def nowhere() -> Iterator[Redis]:
    """A Redis that is away."""
    with Redis(port=devservers.free_port(), socket_timeout=0.2, retry=None) as opened:
        yield opened


def test_a_chore_is_done_once_a_period_whichever_worker_comes_first(client) -> None:
    done: list[str] = []
    workers = [Worker([Chore("once", 3600, lambda name=name: done.append(name))], client) for name in "ab"]
    for worker in (*workers, *workers):
        worker.look(GOES_ON)
    assert done == ["a"]
    client.delete(chores.PREFIX + "once")  # as when the period is over
    workers[1].look(GOES_ON)
    assert done == ["a", "b"]
    assert 0 < client.pttl(chores.PREFIX + "once") <= 3_600_000


def test_a_chore_of_each_machine_is_done_by_each_worker(client) -> None:
    done: list[str] = []
    for name in "ab":
        worker = Worker([Chore("each", 3600, lambda name=name: done.append(name), shared=False)], client)
        worker.look(GOES_ON)
        worker.look(GOES_ON)
    assert done == ["a", "b"]


def test_workers_that_race_do_a_chore_once(client) -> None:
    done: list[int] = []
    barrier = threading.Barrier(8)

    def race(number: int) -> None:
        worker = Worker([Chore("race", 3600, lambda: done.append(number))], client)
        barrier.wait()
        worker.look(GOES_ON)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1


@pytest.mark.parametrize("shared", [True, False])
def test_a_chore_that_fails_is_told_once_counted_and_soon_tried_again(client, caplog, monkeypatch, shared) -> None:
    monkeypatch.setattr(chores, "RETRY_S", 0.0005)
    outcomes = iter([ValueError("one"), ValueError("two"), None])
    ended = threading.Event()

    def run() -> None:
        if (outcome := next(outcomes)) is not None:
            raise outcome
        ended.set()

    name = f"flaky-{shared}"
    failed, done = (CHORES.labels(chore=name, outcome=outcome)._value for outcome in ("failed", "done"))
    worker = Worker([Chore(name, 3600, run, shared=shared)], client)
    until(lambda: worker.look(GOES_ON) or ended.is_set())
    assert (failed.get(), done.get()) == (2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"chore {name} failed; it is tried again every 0 s", f"chore {name} works again",
    ]  # fmt: skip


def test_while_redis_is_away_nothing_runs_and_that_is_told_once(nowhere, client, caplog) -> None:
    done: list[str] = []
    worker = Worker([Chore("away", 3600, lambda: done.append("x"))], nowhere)
    worker.look(GOES_ON)
    worker.look(GOES_ON)
    assert done == []
    worker._client = client  # it is back
    worker.look(GOES_ON)
    assert done == ["x"]
    messages = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert messages == ["the worker waits for Redis", "Redis answers the worker again"]


def test_a_worker_that_is_told_to_stop_finishes_its_chore_and_begins_no_other(client) -> None:
    done: list[str] = []
    stop = threading.Event()
    first = Chore("first", 3600, lambda: done.append("first") or stop.set())
    Worker([first, Chore("second", 3600, lambda: done.append("second"))], client).run(stop)
    assert done == ["first"]


def test_a_worker_is_seen_for_a_minute(url, client, nowhere, fake_clock, monkeypatch) -> None:
    monkeypatch.setattr(redis, "client", lambda: client)
    assert chores.worker_seen_at() is None
    Worker([], client).look(GOES_ON)
    assert chores.worker_seen_at() == fake_clock.now()
    assert 55 < client.ttl(chores.SEEN) <= 60
    monkeypatch.setattr(redis, "client", lambda: nowhere)
    assert chores.worker_seen_at() is None


def test_every_chore_has_a_name_of_its_own() -> None:
    names = [chore.name for chore in chores.ALL]
    assert len(set(names)) == len(names)


def test_a_hub_of_one_process_needs_no_worker() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "worker"], cwd=ROOT, env=hub_environment("sqlite:///unused", 1, REDIS_URL=""),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "CommandError: a worker needs REDIS_URL: a hub of one process does its chores itself\n"


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
    raise AssertionError("it never came true")


def test_a_hub_of_one_process_runs_chores_without_claims() -> None:
    done: list[str] = []
    worker = Worker([Chore("alone", 3600, lambda: done.append("done"))], None)
    worker.look(GOES_ON)
    worker.look(GOES_ON)
    assert done == ["done"]


def test_a_long_chore_is_told_to_stop(client) -> None:
    stop, began = threading.Event(), threading.Event()

    def wait(*, stop: threading.Event) -> None:
        began.set()
        assert stop.wait(10)

    thread = threading.Thread(
        target=Worker([Chore("long", 3600, wait, shared=False, long=True)], client).run, args=(stop,)
    )
    thread.start()
    assert began.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
