"""POST /v1/match over a real server, beside a view of Django REST framework that does nothing, in one run.

One granian worker, as deploy/ starts it; a client in a process of its own keeps it busy over eight connections. The
figures take turns on the same server, so that what disturbs the machine disturbs all of them.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.serving.jobs import SETS, Jobs, different
from benchmarks.serving.server import Hub, ask, running

NAME = "rest"
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (1_000, 1_500, 2_000)  # fewer would soon be held, all of them
BATCH = 64
CONNECTIONS = 8
TURNS, SECONDS = 9, 2.0
QUICK_TURNS, QUICK_SECONDS = 2, 0.3
REQUESTS = {1: 20_000, BATCH: 600}  # prepared for a turn, by jobs in each: more than it has time for
CANDIDATE = b'"candidates":[{"'

EMPTY, BARE = "an empty DRF view", "an empty DRF view, no middleware"
MATCH, SMALL, LARGE = "a match", "a match, small pool", "a match, large pool"
SAME, DIFFERENT = f"a batch of {BATCH}, all alike", f"a batch of {BATCH}, no two alike"
# each against the other
OF_EMPTY, OF_BARE = "a match / an empty view", "a match / an empty view, no middleware"
GROWTH = "a match, large pool / small pool"
ALIKE, MIXED = "matches of a batch, all alike / single", "matches of a batch, no two alike / single"


@dataclass
class Turns:
    """What one contestant did in each of its turns."""

    miners: int
    jobs: int  # matches in a request; 1 where it does none
    rates: list[float] = field(default_factory=list)  # requests/s
    cpu_ms: list[float] = field(default_factory=list)  # of the server, a request
    latencies_us: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        return {
            "miners": self.miners,
            "jobs": self.jobs,
            "requests": len(self.latencies_us),
            "requests_s": round(float(np.median(self.rates)), 1),
            "matches_s": round(float(np.median(self.rates)) * self.jobs, 1),
            "cpu_ms": round(float(np.median(self.cpu_ms)), 4),
            "p50_ms": round(float(np.percentile(self.latencies_us, 50)) / 1e3, 3),
            "p99_ms": round(float(np.percentile(self.latencies_us, 99)) / 1e3, 3),
            "rates": [round(each, 1) for each in self.rates],
        }


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--sizes", type=_sizes, metavar="SMALL,MIDDLE,LARGE", help="miners of the three pools")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small pools and short turns: a check, not a measurement")


def _sizes(text: str) -> tuple[int, ...]:
    small, middle, large = sorted({int(each) for each in text.split(",")})
    return small, middle, large


def run(options: Namespace) -> dict[str, Any]:
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    turns = QUICK_TURNS if options.quick else TURNS
    seconds = QUICK_SECONDS if options.quick else SECONDS
    environment = harness.environment(("django", "djangorestframework", "granian", "numpy", "msgspec"))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
        hubs = [stack.enter_context(running(size, folder=Path(folder), seed=options.seed)) for size in sizes]
        measured = take_turns(hubs, turns=turns, seconds=seconds)
    environment["load_average_after"] = harness.environment(())["load_average"]
    result: dict[str, Any] = {
        "what": "POST /v1/match over granian, one worker, beside an empty view",
        "environment": environment,
        "seed": options.seed,
        "quick": options.quick,
        "sizes": sizes,
        "connections": CONNECTIONS,
        "turns": turns,
        "seconds_a_turn": seconds,
        "contestants": {name: each.summary() for name, each in measured.items()},
        "ratios": ratios(measured),
    }
    print(tables(result), flush=True)
    return result


def take_turns(hubs: list[Hub], *, turns: int, seconds: float) -> dict[str, Turns]:
    """Each contestant in turn, `turns` times over; the first time round is not counted."""
    small, hub, large = hubs
    jobs = Jobs()
    check(hub, jobs)
    contestants = {
        EMPTY: (hub, 1, lambda i: hub.request("GET", "/v1/empty"), b'"ok"'),
        BARE: (hub, 1, lambda i: hub.request("GET", "/bare/v1/empty"), b'"ok"'),
        MATCH: (hub, 1, partial(_match, hub, jobs), CANDIDATE),
        SMALL: (small, 1, partial(_match, small, jobs), CANDIDATE),
        LARGE: (large, 1, partial(_match, large, jobs), CANDIDATE),
        SAME: (hub, BATCH, partial(_batch, hub, jobs, same=True), CANDIDATE),
        DIFFERENT: (hub, BATCH, partial(_batch, hub, jobs, same=False), CANDIDATE),
    }
    measured = {name: Turns(server.miners, number) for name, (server, number, _, _) in contestants.items()}
    for turn in range(turns + 1):
        for name, (server, number, make, holds) in contestants.items():
            requests = [make(i) for i in range(int(REQUESTS[number] * seconds / SECONDS))]
            told, cpu_s = ask(server, requests, holds=holds, connections=CONNECTIONS, seconds=seconds)
            answered = len(told.latencies_us)
            assert 0 < answered <= len(requests), f"{name}: {answered} answers, so that some job was asked for twice"
            if turn:
                measured[name].rates.append(answered / told.seconds)
                measured[name].cpu_ms.append(cpu_s * 1e3 / answered)
                measured[name].latencies_us += told.latencies_us
    return measured


def check(hub: Hub, jobs: Jobs) -> None:
    """Every job that is asked for, alone or in a batch, gets its answer, over all miners and with candidates."""
    for asked in SETS:
        body = jobs.match(asked)
        answer = _answer(hub, hub.request("POST", "/v1/match", body))
        assert answer["job_id"] == msgspec.json.decode(body)["job_id"]
        assert len(answer["candidates"]) == asked["top_k"], answer
        assert answer["considered"] == hub.miners == answer["eligible"] + sum(answer["rejected"].values()), answer
    for same in (True, False):
        results = _answer(hub, _batch(hub, jobs, 1, same=same))["results"]
        assert len(results) == BATCH
        assert all(each["candidates"] for each in results), results


def _answer(hub: Hub, request: bytes) -> Any:
    return msgspec.json.decode(hub.once(request))


def _match(hub: Hub, jobs: Jobs, i: int) -> bytes:
    return hub.request("POST", "/v1/match", jobs.match(SETS[i % len(SETS)]))


def _batch(hub: Hub, jobs: Jobs, i: int, *, same: bool) -> bytes:
    asked = [SETS[i % len(SETS)]] * BATCH if same else different(BATCH)
    return hub.request("POST", "/v1/match/batch", jobs.batch(asked))


def ratios(measured: dict[str, Turns]) -> dict[str, dict[str, float]]:
    """By the clock: the median over the turns of what two contestants did in the same one; by processor time."""
    pairs = {
        OF_EMPTY: (MATCH, EMPTY),
        OF_BARE: (MATCH, BARE),
        GROWTH: (LARGE, SMALL),
        ALIKE: (SAME, MATCH),
        MIXED: (DIFFERENT, MATCH),
    }
    return {what: _ratio(measured[one], measured[other]) for what, (one, other) in pairs.items()}


def _ratio(one: Turns, other: Turns) -> dict[str, float]:
    scale = one.jobs / other.jobs
    rates = np.array(one.rates) / np.array(other.rates)
    cpu = np.array(other.cpu_ms) / np.array(one.cpu_ms)
    p99 = np.percentile(one.latencies_us, 99) / np.percentile(other.latencies_us, 99)
    return {
        "rate": round(float(np.median(rates)) * scale, 3),
        "rate_low": round(float(rates.min()) * scale, 3),
        "rate_high": round(float(rates.max()) * scale, 3),
        "cpu": round(float(np.median(cpu)) * scale, 3),
        "p99": round(float(p99), 2),
    }


def tables(result: dict[str, Any]) -> str:
    rows = [
        [name, each["miners"], each["requests_s"], each["matches_s"] if each["jobs"] > 1 else None, each["cpu_ms"],
         each["p50_ms"], each["p99_ms"]]
        for name, each in result["contestants"].items()
    ]  # fmt: skip
    header = ("asked for", "miners", "requests/s", "matches/s", "server's cpu ms", "p50 ms", "p99 ms")
    compared = [
        [what, each["rate"], f"{each['rate_low']}–{each['rate_high']}", each["cpu"], each["p99"]]
        for what, each in result["ratios"].items()
    ]
    ratio_header = ("ratio", "by the clock", "lowest–highest turn", "by processor time", "of p99")
    return (
        f"\n{result['connections']} connections, {result['turns']} turns of {result['seconds_a_turn']} s\n\n"
        f"{harness.table(header, rows)}\n\n{harness.table(ratio_header, compared)}"
    )


def plot(result: dict[str, Any]) -> None:
    """Processor time of a request against the number of miners."""
    contestants = result["contestants"]
    matches = [contestants[name] for name in (SMALL, MATCH, LARGE)]
    curves = {
        "POST /v1/match": [(each["miners"], each["cpu_ms"]) for each in matches],
        "an empty view": [(each["miners"], contestants[EMPTY]["cpu_ms"]) for each in matches],
    }
    plots.log_log(
        harness.folder_of(result) / NAME, {"over granian": curves}, x="miners", y="ms of processor time a request"
    )


def _of(what: str, how: str) -> Callable[[Result], float | None]:
    return lambda result: result["ratios"][what][how] if tuple(result["sizes"]) == SIZES else None


FIGURES: tuple[Figure, ...] = (
    at_least("match over HTTP, 10,000 miners: requests/s of an empty DRF view's", 0.6, "×", _of(OF_EMPTY, "rate")),
    at_most("match over HTTP, 10,000 miners: p99 of an empty DRF view's", 5, "×", _of(OF_EMPTY, "p99")),
    at_least("match over HTTP, 100,000 miners: requests/s of those at 1,000", 0.8, "×", _of(GROWTH, "rate")),
    at_least(f"batch of {BATCH}, all alike: matches/s of single requests'", 4, "×", _of(ALIKE, "rate")),
)
