"""A match in process: the registry beside SQLite, PostgreSQL and ClassAds, on the same miners and jobs, in one run.

Before anything is timed, every engine must have found the same ten miners in the same order for every job.
"""

import gc
import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from time import perf_counter, perf_counter_ns, thread_time_ns
from typing import Any

from benchmarks import harness, plots
from benchmarks.engines import live, postgres, sqlite
from benchmarks.facts import Facts, facts
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.harness import ROOT, Flush, Runner, Samples, interleave, rounds_for
from benchmarks.jobs import JOBS, SHARES, TOP_K
from benchmarks.population import HEARTBEAT_S, NOW, Population, population
from matching.scoring.types import Query
from miners.registry.store import Registry

try:
    from benchmarks.engines import classads
except ImportError:
    classads = None  # type: ignore[assignment]

NAME = "match"
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)
REFERENCES = ("SQLite", "PostgreSQL", "ClassAds", "ClassAds, one call")
ADS = REFERENCES[2:]
NOT_INSTALLED = "not installed"
IN_ONE_UP_TO = 100_000  # a second copy of the ads: 5 GB at a million
TRACED_UP_TO = 100_000  # tracemalloc makes loading several times slower
BUDGET_S = (0.5, 6.0)  # for an engine and a kind of job: quick, in full
BESIDE_ROUNDS = 50
MATCHES_A_S = 200.0  # in the run with heartbeats between the matches
TARGETS_MS = {100_000: 0.35, 1_000_000: 2.5}
Prepared = Mapping[str, Callable[[], list[str]]]


@dataclass(frozen=True, slots=True)
class Reference:
    """How an engine prepares a job, and the processor time of whoever works for it."""

    prepare: Callable[[Query], Callable[[], list[str]]]
    processor_ns: Callable[[], int] = thread_time_ns


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="half a second a step instead of six: a check, not a measurement"
    )
    parser.add_argument(
        "--classads-up-to", type=int, default=1_000_000, metavar="MINERS",
        help="leave ClassAds out above this size: a million ads take 5 GB and about 2 s a job (default: never)",
    )  # fmt: skip


def run(options: Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {
        "what": "match in process: top 10, components and rejection counts",
        "environment": harness.environment(("numpy", "htcondor", "msgspec", "psycopg")),
        "sqlite": sqlite.sqlite3.sqlite_version,
        "seed": options.seed,
        "quick": options.quick,
        "sizes": [],
    }
    with postgres.server() if postgres.is_installed() else nullcontext() as dsn:
        result["postgresql"] = NOT_INSTALLED if dsn is None else postgres.version(dsn)
        for size in options.sizes or (QUICK_SIZES if options.quick else SIZES):
            result["sizes"].append(measure(size, options, dsn))
            print(report(result["sizes"][-1]), flush=True)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    return result


def measure(size: int, options: Namespace, dsn: str | None) -> dict[str, Any]:
    budget_s = BUDGET_S[0] if options.quick else BUDGET_S[1]
    memory = footprint(size, options.seed)
    miners = population(size, options.seed)
    begun = perf_counter()
    registry = live.registry_of(miners)
    load_s = perf_counter() - begun
    engines, missing = references(miners, facts(miners), dsn, options.classads_up_to)
    found: dict[str, Any] = {
        "miners": size,
        "capabilities": len(set(miners.capabilities.codes.tolist())),
        "load_s": round(load_s, 2),
        "memory": memory,
        "not_run": missing,
        "jobs": {},
    }
    for kind, jobs in JOBS.items():
        ours = {name: partial(live.answer, registry, query) for name, query in jobs.items()}
        theirs = {
            engine: {name: each.prepare(query) for name, query in jobs.items()} for engine, each in engines.items()
        }
        shares = agree(registry, kind, theirs)
        runners = [Runner("registry", ours, rounds_for(partial(_all, ours), budget_s=budget_s, least=3, most=500))]
        runners += [
            Runner(
                engine,
                runs,
                rounds_for(partial(_all, runs), budget_s=budget_s, least=3, most=runners[0].rounds),
                engines[engine].processor_ns,
            )
            for engine, runs in theirs.items()
        ]
        samples = interleave(runners)
        beside = interleave([Runner("registry", ours, min(runners[0].rounds, BESIDE_ROUNDS))], Flush())
        found["jobs"][kind] = {
            "eligible_share": shares,
            "hot": {engine: each.summary() for engine, each in samples.items()},
            "beside_other_work": {"registry": beside["registry"].summary()},
        }
    engines.clear()
    gc.collect()
    found["with_heartbeats"] = with_heartbeats(registry, miners, budget_s)
    return found


def references(
    miners: Population, known: Facts, dsn: str | None, classads_up_to: int
) -> tuple[dict[str, Reference], dict[str, str]]:
    """The engines that take part, and why one does not."""
    engines, missing = {"SQLite": Reference(partial(sqlite.prepared, sqlite.database_of(miners, known)))}, {}
    if dsn is None:
        missing["PostgreSQL"] = NOT_INSTALLED
    else:
        database = postgres.database_of(dsn, miners, known)
        engines["PostgreSQL"] = Reference(partial(postgres.prepared, database), postgres.processor_ns(database))
    if classads is None:
        return engines, {**missing, **dict.fromkeys(ADS, NOT_INSTALLED)}
    if miners.size > classads_up_to:
        return engines, {**missing, **dict.fromkeys(ADS, "left out by --classads-up-to")}
    ads = classads.Ads(miners, known)
    engines["ClassAds"] = Reference(ads.prepared)
    if miners.size > IN_ONE_UP_TO:
        why = f"above {IN_ONE_UP_TO:,} miners its copy of the ads takes too much memory"
        return engines, {**missing, "ClassAds, one call": why}
    engines["ClassAds, one call"] = Reference(classads.AdsInOne(ads).prepared)
    return engines, missing


def agree(registry: Registry, kind: str, theirs: Mapping[str, Prepared]) -> dict[str, float]:
    """Every engine does the work, and the same work; the share of eligible miners by job."""
    shares = {}
    for name, query in JOBS[kind].items():
        answer = live.answer(registry, query)
        assert answer.considered == len(registry) == answer.eligible + sum(answer.rejected.values()), (kind, name)
        assert len(answer.candidates) == min(TOP_K, answer.eligible), (kind, name)
        assert all(each.components.trust > 0 and each.explain for each in answer.candidates), (kind, name)
        ours = [each.miner_id for each in answer.candidates]
        for engine, runs in theirs.items():
            assert runs[name]() == ours, f"{engine} ranks other miners for the {kind} job {name!r}"
        shares[name] = round(answer.eligible / answer.considered, 5)
        low, high = SHARES[kind]
        assert len(registry) < 10_000 or low <= shares[name] <= high, (kind, name, shares[name])
    return shares


def with_heartbeats(registry: Registry, miners: Population, budget_s: float) -> dict[str, Any]:
    """Matches at a steady rate of simulated time, with every heartbeat that falls between two of them applied first.

    So each match pays for what became due: states that change, ranks of a region, trust that fades.
    """
    beats = live.heartbeats(registry, miners)
    jobs = {f"{kind} {name}": query for kind in ("selective", "unselective") for name, query in JOBS[kind].items()}
    samples, now, owed, applied, spent_ns = Samples(), NOW, 0.0, 0, 0
    deadline = perf_counter() + 2 * budget_s
    turn = 0
    while perf_counter() < deadline:
        now += 1 / MATCHES_A_S
        owed += miners.size / HEARTBEAT_S / MATCHES_A_S
        due = [next(beats) for _ in range(int(owed))]
        owed -= len(due)
        begun = perf_counter_ns()
        for beat in due:
            beat(now)
        spent_ns += perf_counter_ns() - begun
        applied += len(due)
        name = list(jobs)[turn % len(jobs)]
        answer = samples.time(name, partial(live.answer, registry, jobs[name], now))
        assert answer.considered == answer.eligible + sum(answer.rejected.values())
        turn += 1
    return {
        "matches_a_s": MATCHES_A_S,
        "heartbeats_a_match": round(applied / turn, 2),
        "us_a_heartbeat": round(spent_ns / 1e3 / max(1, applied), 2),
        "registry": samples.summary(),
    }


def footprint(size: int, seed: int) -> dict[str, float | None]:
    """Bytes a miner of a registry alone in a process of its own."""
    found: dict[str, float | None] = {"traced": None}
    for how in ("resident", "traced"):
        if how == "traced" and size > TRACED_UP_TO:
            continue
        command = [sys.executable, "-m", "benchmarks.footprint", how, str(size), str(seed)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found.update(json.loads(done.stdout))
    return found


def tables(result: dict[str, Any]) -> str:
    return "\n".join(map(report, result["sizes"]))


HEADER = ("jobs", "engine", "p50 ms", "p99 ms", "cpu p50 ms", "slowest job", "ratio", "target ms")


def report(found: dict[str, Any]) -> str:
    """Milliseconds by the clock, then in processor time; ratios are of processor time."""
    rows = []
    for kind, jobs in found["jobs"].items():
        ours = jobs["hot"]["registry"]
        rows.append([kind, "registry", *_figures(ours), None, _target(found["miners"], kind, ours)])
        rows.append([kind, "registry, beside other work", *_figures(jobs["beside_other_work"]["registry"]), None, None])
        for engine in REFERENCES:
            if engine in found["not_run"]:
                rows.append([kind, f"{engine}: {found['not_run'][engine]}", *[None] * 6])
            else:
                other = jobs["hot"][engine]
                rows.append([kind, engine, *_figures(other), other["cpu_p50_ms"] / ours["cpu_p50_ms"], None])
    beats, memory = found["with_heartbeats"], found["memory"]
    rows.append(["both", "registry, heartbeats between", *_figures(beats["registry"]), None, None])
    footprints = ", ".join(f"{how} {harness.cell(memory[how])} B" for how in ("arrays", "traced", "resident"))
    return (
        f"\n{found['miners']:,} miners, {found['capabilities']:,} capabilities\n\n{harness.table(HEADER, rows)}\n\n"
        f"{beats['heartbeats_a_match']} heartbeats a match, {beats['us_a_heartbeat']} us each, longest match"
        f" {beats['registry']['cpu_max_ms']} ms of processor time; memory a miner: {footprints};"
        f" loaded in {found['load_s']} s"
    )


def _figures(summary: dict[str, Any]) -> list[Any]:
    return [summary["p50_ms"], summary["p99_ms"], summary["cpu_p50_ms"], max(summary["cpu_p50_ms_each"].values())]


def plot(result: dict[str, Any]) -> None:
    """Cost against the number of miners, a panel a kind of job."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for found in result["sizes"]:
        for kind, jobs in found["jobs"].items():
            for engine, summary in jobs["hot"].items():
                curves.setdefault(kind, {}).setdefault(engine, []).append((found["miners"], summary["p50_ms"]))
    plots.log_log(harness.folder_of(result) / NAME, curves, x="miners", y="ms a match, p50")


def _found(result: Result, size: int) -> dict[str, Any]:
    return next(each for each in result["sizes"] if each["miners"] == size)


def _p50(size: int, kind: str) -> Callable[[Result], float]:
    return lambda result: _found(result, size)["jobs"][kind]["hot"]["registry"]["p50_ms"]


def _times(engine: str, kind: str, size: int = 100_000) -> Callable[[Result], float]:
    def seen(result: Result) -> float:
        hot = _found(result, size)["jobs"][kind]["hot"]
        return hot[engine]["cpu_p50_ms"] / hot["registry"]["cpu_p50_ms"]

    return seen


def _bytes(how: str) -> Callable[[Result], float]:
    return lambda result: _found(result, 100_000)["memory"][how]


KINDS = ("selective", "unselective")
FIGURES: tuple[Figure, ...] = (
    *(
        at_most(f"match in process, {size:,} miners, {kind}: p50", limit, "ms", _p50(size, kind))
        for size, limit in TARGETS_MS.items()
        for kind in KINDS
    ),
    *(
        at_least(f"match in process, 100,000 miners, {kind}: against {engine}", limit, "×", _times(engine, kind))
        for engine, limit in (("ClassAds", 500), ("SQLite", 60))
        for kind in KINDS
    ),
    at_most("memory a miner in the registry, 2,000 capabilities: arrays", 500, "B", _bytes("arrays")),
    at_most("memory a miner in the registry: with ids, addresses and dictionaries", 500, "B", _bytes("traced")),
)


def _target(size: int, kind: str, ours: dict[str, Any]) -> str | None:
    target = TARGETS_MS.get(size) if kind != "rare" else None
    return None if target is None else f"{target} {'met' if ours['p50_ms'] <= target else 'missed'}"


def _all(runs: Prepared | Mapping[str, Callable[[], object]]) -> None:
    for each in runs.values():
        each()
