"""Matches over HTTP beside standing subscriptions and heartbeats, all in one process: what the subscriptions cost them.

The process is asked by turns with subscriptions and without; heartbeats come all the time. A turn with subscriptions
counts only if every subscriber ends up with what a match would answer.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least
from benchmarks.processes import Child, child, hub_environment, migrate

NAME = "stream"
MINERS, QUICK_MINERS = 100_000, 2_000
HEARTBEATS_S, QUICK_HEARTBEATS_S = 5_000, 500
SUBSCRIPTIONS, QUICK_SUBSCRIPTIONS = (100, 300, 1_000), (10,)
SECONDS, QUICK_SECONDS = 3.0, 0.3
TURNS, QUICK_TURNS = 7, 1
SUSTAINED = 0.95  # of the heartbeats that are to be applied
ALONE, BESIDE = "heartbeats alone", "with subscriptions"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--miners", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few of everything and one short turn: a check")


def run(options: Namespace) -> dict[str, Any]:
    quick = options.quick
    miners = options.miners or (QUICK_MINERS if quick else MINERS)
    rate, counts = (QUICK_HEARTBEATS_S, QUICK_SUBSCRIPTIONS) if quick else (HEARTBEATS_S, SUBSCRIPTIONS)
    seconds, turns = (QUICK_SECONDS, QUICK_TURNS) if quick else (SECONDS, TURNS)
    result: dict[str, Any] = {
        "what": "POST /v1/match beside standing subscriptions and heartbeats, one process",
        "environment": harness.environment(("django", "djangorestframework", "numpy", "msgspec")),
        "quick": quick,
        "seed": options.seed,
        "miners": miners,
        "heartbeats_s": rate,
        "seconds": seconds,
        "turns": turns,
        "runs": [],
    }
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        # no records, for there is no thread that would store them
        env = hub_environment(f"sqlite:///{folder}/hub.sqlite3", MATCH_RECORD_SAMPLE="0", SOFT_HOLD_MS="100")
        migrate(env)
        busy = stack.enter_context(
            child("benchmarks.streaming.busy", str(miners), str(options.seed), str(rate), env=env)
        )
        for count in counts:
            found = measure(busy, count, options.seed, seconds=seconds, turns=turns)
            for each in (ALONE, BESIDE):
                assert found[each]["heartbeats_s"] >= SUSTAINED * rate, (count, each, found[each])
            result["runs"].append(found)
            print(f"{count:,} subscriptions: {found['rate']:.2f} of the matches/s without", flush=True)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    return result


def measure(busy: Child, count: int, seed: int, *, seconds: float, turns: int) -> dict[str, Any]:
    spent: dict[str, list[dict[str, float]]] = {ALONE: [], BESIDE: []}
    for turn in range(turns + 1):  # the first one warms up
        for which in (ALONE, BESIDE):
            if which == BESIDE:
                assert busy.ask("subscribe", count, seed) == count
            done = busy.ask("match", seconds)
            if which == BESIDE:
                assert done["rankings_s"] > 0, done
                assert busy.ask("agreed") == count, "a subscriber has another answer than a match"
                busy.ask("unsubscribe")
            if turn:
                spent[which].append(done)
    pairs = list(zip(spent[BESIDE], spent[ALONE], strict=True))
    return {
        "subscriptions": count,
        **{
            which: {name: round(median(each[name] for each in done), 3) for name in done[0]}
            for which, done in spent.items()
        },
        "rate": round(median(one["matches_s"] / other["matches_s"] for one, other in pairs), 3),
        "p50": round(median(one["p50_us"] / other["p50_us"] for one, other in pairs), 3),
        "p99": round(median(one["p99_us"] / other["p99_us"] for one, other in pairs), 3),
    }


HEADER = (
    "subscriptions", "matches/s", "without", "ratio", "p50 ms", "without", "ratio", "p99 ms", "without", "ratio",
    "rankings/s", "updates/s", "heartbeats/s",
)  # fmt: skip


def tables(result: dict[str, Any]) -> str:
    rows = [
        [
            each["subscriptions"], each[BESIDE]["matches_s"], each[ALONE]["matches_s"], each["rate"],
            each[BESIDE]["p50_us"] / 1e3, each[ALONE]["p50_us"] / 1e3, each["p50"],
            each[BESIDE]["p99_us"] / 1e3, each[ALONE]["p99_us"] / 1e3, each["p99"],
            each[BESIDE]["rankings_s"], each[BESIDE]["updates_s"], each[BESIDE]["heartbeats_s"],
        ]
        for each in result["runs"]
    ]  # fmt: skip
    return f"\n{result['miners']:,} miners, {result['heartbeats_s']:,} heartbeats/s\n\n{harness.table(HEADER, rows)}"


def plot(result: dict[str, Any]) -> None:
    panels = {
        f"{each['subscriptions']:,} subscriptions": {which: each[which]["matches_s"] for which in (ALONE, BESIDE)}
        for each in result["runs"]
    }
    plots.bars(harness.folder_of(result) / NAME, panels, y="matches/s")


def _of(count: int) -> Any:
    return lambda result: _seen(result, count)


def _seen(result: Result, count: int) -> float | None:
    runs: Any = [each for each in result["runs"] if each["subscriptions"] == count and result["miners"] == MINERS]
    return float(runs[0]["rate"])


FIGURES: tuple[Figure, ...] = tuple(
    at_least(f"matches/s beside {count:,} subscriptions and 5,000 heartbeats/s, of those without", 0.8, "×", _of(count))
    for count in SUBSCRIPTIONS
)
