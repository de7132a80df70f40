"""A whole hub under steady load, and beyond what it can do: memory, latencies, errors, by the minute.

`manage.py cluster` with PostgreSQL, Valkey and nginx; miners that heartbeat, come and go; jobs that are matched with a
reservation and followed to their end, due at moments fixed beforehand. At the end what the hub has counted and stored
must be what it acknowledged. Beyond capacity: more and more matches are offered, then all miners come back at once.
"""

import math
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.heartbeats import OPEN_FILES, open_files
from benchmarks.loading import sums
from benchmarks.loading.beyond import beyond, beyond_tables
from benchmarks.loading.hub import Hub, running_hub
from benchmarks.processes import Child, child
from poolhub import nginx, parts

NAME = "load"
MINUTES, MINERS, MATCHES_S = 15.0, 5_000, 100.0
QUICK_MINUTES, QUICK_MINERS, QUICK_MATCHES_S = 0.05, 40, 10.0
CHURN_PER_MIN = 0.05
HEARTBEAT_S = 5.0
ENROLLED_AT_ONCE = 200
LOOK_S = 5.0  # between two looks at memory and health
MINUTE_S = 60.0
RESERVED_FOR_S = 5.5  # after the last job nothing is reserved any more
PATIENCE_S = 60.0
SETTINGS = {
    "SESSION_TTL_SEC": f"{HEARTBEAT_S * 3:g}",
    "HEARTBEAT_GRACE_SEC": f"{HEARTBEAT_S * 6:g}",
    "RATELIMIT_MATCH": "1000000/s",  # counted as in production, never reached: all callers have one address
    "RATELIMIT_REGISTER": "1000000/s",
}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--miners", type=int)
    parser.add_argument("--matches", type=float, metavar="PER_S", help="matches a second, each with a reservation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, help="the first of those that the hub takes; else any that are free")
    parser.add_argument("--beyond", action="store_true", help="afterwards offer more than the hub can do")
    parser.add_argument("--quick", action="store_true", help="few miners for seconds: a check, not a measurement")


def run(options: Namespace) -> dict[str, Any]:
    quick = options.quick
    minutes = options.minutes or (QUICK_MINUTES if quick else MINUTES)
    miners = options.miners or (QUICK_MINERS if quick else MINERS)
    rate = options.matches or (QUICK_MATCHES_S if quick else MATCHES_S)
    require_files(miners)
    result: dict[str, Any] = {
        "what": "a whole hub under steady load" + (", and beyond what it can do" if options.beyond else ""),
        "environment": harness.environment(("django", "granian", "uvicorn", "uvloop", "numpy", "psycopg", "redis")),
        "quick": quick,
        "seed": options.seed,
        "minutes": minutes,
        "miners": miners,
        "matches_s": rate,
        "nginx": nginx.binary() is not None,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # PostgreSQL is another user's
        hub = stack.enter_context(running_hub(folder, first_port=options.port, **SETTINGS))
        crowd = stack.enter_context(child("benchmarks.loading.crowd", str(hub.front), str(options.seed)))
        asker = stack.enter_context(
            child("benchmarks.loading.coordinator", str(hub.front), hub.secret, str(options.seed))
        )
        result["steady"] = steady(hub, crowd, asker, minutes=minutes, miners=miners, rate=rate)
        print(_verdict(result["steady"]), flush=True)
        if options.beyond:
            result["beyond"] = beyond(hub, crowd, asker, miners=miners, rate=rate, quick=quick)
        crowd.ask("close")
        asker.ask("close")
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    print(tables(result), flush=True)
    return result


def require_files(miners: int) -> None:
    """nginx has two connections a miner, the client one."""
    wanted = 2 * miners + 5 * OPEN_FILES
    if open_files() < wanted:
        raise SystemExit(f"{miners:,} miners need `ulimit -n` of {wanted:,} or more; it is {open_files():,}")


# processes of each part that hold the registry
WITH_REGISTRY = {"rest": parts.REST_WORKERS, "sockets": parts.SOCKET_PROCESSES, "worker": 1}


# ---- steady load


def steady(hub: Hub, crowd: Child, asker: Child, *, minutes: float, miners: int, rate: float) -> dict[str, Any]:
    enrolled = crowd.ask("enrol", miners, ENROLLED_AT_ONCE)
    assert enrolled["open"] == miners, (enrolled, crowd.ask("tell"))
    first = crowd.ask("tell")
    assert not first["errors"], first["errors"]
    crowd.ask("churn", miners * CHURN_PER_MIN)
    seconds = minutes * MINUTE_S
    watch = Watch(hub)
    begun = watch.begun
    asker.ask("begin", rate, seconds)
    rows: list[dict[str, Any]] = []
    while (now := time.monotonic() - begun) < seconds:
        time.sleep(min(LOOK_S, seconds - now))
        watch.look()
        if time.monotonic() - begun >= min(seconds, (len(rows) + 1) * MINUTE_S):
            rows.append(watch.minute(crowd.ask("tell"), asker.ask("tell")))
            print(_line(rows[-1]), flush=True)
    spent = watch.processor_s()
    calmed = crowd.ask("calm")
    assert calmed["under_way"] == 0, calmed
    asker.ask("finish")
    told, asked = crowd.ask("tell"), asker.ask("tell", crowd.ask("slots"))
    gone = sum(row["counts"].get("vanished", 0) for row in rows) + told["counts"].get("vanished", 0)
    rows[-1]["errors"] = sums.added([rows[-1]["errors"], told["errors"], asked["errors"]])
    return {
        "enrolled_s": round(enrolled["seconds"], 1),
        "rows": rows,
        "all": {**asked["all"], "ack": told["all_acks"]},
        "errors": sums.added(row["errors"] for row in rows),
        "registered": told["made"],
        "journal": asked["journal"],
        "overbooked": asked["overbooked"],
        "memory": watch.memory_by_part(registered_per_min=miners * CHURN_PER_MIN),
        "processor_share": {part: round(used / seconds, 3) for part, used in spent.items()},
        "worst_lag_ms": watch.worst_lag_ms,
        "least_online": watch.least_online,
        "unhealthy": watch.unhealthy,
        "done": {**agreed(hub, told, asked), **heartbeats_agreed(hub, crowd, vanished=gone)},
    }


class Watch:
    """Looks at the hub from outside while it works."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.begun = time.monotonic()
        self.at: list[float] = []
        self.memory: dict[str, list[float]] = {}
        self.processes: dict[str, int] = {}
        self.worst_lag_ms, self.least_online, self.unhealthy = 0.0, 10**9, 0
        self.worst_health_ms = 0.0
        self._spent = hub.processor_s()

    def look(self) -> dict[str, Any]:
        found, health = self.hub.memory(), self.hub.health()
        self.at.append(time.monotonic() - self.begun)
        for part, each in found.items():
            # a part that was not seen before, such as what nginx starts later, began with what it has now
            self.memory.setdefault(part, [each["mb"]] * (len(self.at) - 1)).append(each["mb"])
            self.processes[part] = int(each["processes"])
        if health["code"] != 200:
            self.unhealthy += 1
        else:
            self.worst_lag_ms = max(self.worst_lag_ms, health["lag_ms"])
            self.least_online = min(self.least_online, health["online_miners"])
        self.worst_health_ms = max(self.worst_health_ms, health["ms"])
        return health

    def minute(self, crowd: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "minute": round(self.at[-1] / MINUTE_S, 1),
            "open": crowd["open"],
            "beats": crowd["beats"],
            "ack": crowd["ack"],
            **{what: asked[what] for what in ("match", "feedback", "reservation")},
            "counts": crowd["counts"],
            "errors": sums.added([crowd["errors"], asked["errors"]]),
            "memory_mb": {part: round(values[-1], 1) for part, values in self.memory.items()},
            "lag_ms": self.worst_lag_ms,
            "kept": self.hub.kept(),
        }

    def processor_s(self) -> dict[str, float]:
        return {part: used - self._spent.get(part, 0.0) for part, used in self.hub.processor_s().items()}

    def memory_by_part(self, *, registered_per_min: float) -> dict[str, dict[str, Any]]:
        found = {}
        for part, values in self.memory.items():
            at, seen = sums.settled(self.at, values)
            grows = sums.slope(at, seen)
            holds_registry = part in WITH_REGISTRY
            allowed = sums.allowed_mb_per_min(WITH_REGISTRY.get(part, 1), registered_per_min if holds_registry else 0.0)
            found[part] = {
                "processes": self.processes[part],
                "first_mb": round(values[0], 1),
                "last_mb": round(values[-1], 1),
                "mb_per_min": round(grows, 3),
                "allowed_mb_per_min": round(allowed, 3),
                "flat": grows <= allowed,
            }
        return found


def agreed(hub: Hub, crowd: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What the hub has stored and counted is what it acknowledged; AssertionError else."""
    journal = asked["journal"]
    until = time.monotonic() + PATIENCE_S
    while (held := hub.reservations()) and time.monotonic() < until:  # those that were forgotten run out
        time.sleep(0.2)
    assert held == 0, f"{held} reservations are still held"
    stored = dict(hub.rows("SELECT outcome, count(*) FROM feedback_feedback GROUP BY outcome"))
    told = {outcome: number for outcome, number in journal["feedback"].items() if number}
    assert stored == told, f"feedback stored {stored}, acknowledged {told}"
    ((granted, ended),) = hub.rows("SELECT count(*), count(ended_at) FROM matching_reservation")
    assert granted == journal["granted"], f"{granted} reservations stored, {journal['granted']} answered"
    assert ended >= journal["released"], f"{ended} reservations ended, {journal['released']} released"
    counters = hub.counters()
    matched = counters['poolhub_match_requests_total{outcome="matched"}']
    assert matched == journal["matched"], f"{matched} matches counted, {journal['matched']} answered"
    assert journal["candidates"] >= journal["matched"] > 0, journal
    counted = {
        outcome: counters[f'poolhub_feedback_total{{outcome="{outcome}"}}'] for outcome in told
    }  # fmt: skip
    assert counted == told, f"feedback counted {counted}, acknowledged {told}"
    assert asked["overbooked"] == 0, f"{asked['overbooked']} slots were given twice"
    registered = hub.rows("SELECT count(*) FROM miners_miner")[0][0]
    assert registered == crowd["made"], f"{registered} miners stored, {crowd['made']} answered"
    return {
        "candidates": journal["candidates"],
        "granted": granted,
        "ended": ended,
        "expired": granted - ended,
        "feedback": sum(told.values()),
    }


def heartbeats_agreed(hub: Hub, crowd: Child, *, vanished: int) -> dict[str, int]:
    """Miners that vanish may take one with them; what is sent between two looks may be counted or not."""
    before = crowd.ask("tell")["all_beats"]
    until = time.monotonic() + PATIENCE_S
    while (counted := beats_counted(hub)) < before - vanished and time.monotonic() < until:
        time.sleep(0.2)
    after = crowd.ask("tell")["all_beats"]
    assert before - vanished <= counted <= after, f"{counted} heartbeats counted, {before} to {after} sent"
    return {"heartbeats_sent": before, "heartbeats_counted": counted}


def beats_counted(hub: Hub) -> int:
    return int(hub.counters()['poolhub_heartbeats_total{transport="ws"}'])


# ---- telling


def _line(row: dict[str, Any]) -> str:
    match, memory = row["match"], sum(row["memory_mb"].values())
    return (
        f"minute {row['minute']}: {row['open']:,} sockets, {row['beats']:,} heartbeats,"
        f" match p50 {match['p50_ms']} p99 {match['p99_ms']} ms, {memory:,.0f} MB, errors {row['errors'] or 'none'}"
    )


def _verdict(found: dict[str, Any]) -> str:
    grow = [f"{part} {each['mb_per_min']:+.2f} MB/min" for part, each in found["memory"].items() if not each["flat"]]
    return f"memory: {'flat' if not grow else 'grows: ' + ', '.join(grow)}; errors: {found['errors'] or 'none'}"


SHOWN = ("rest", "sockets", "worker", "nginx", "postgres", "valkey")


def tables(result: dict[str, Any]) -> str:
    found = result["steady"]
    head = (
        f"{result['miners']:,} miners, a heartbeat every {HEARTBEAT_S:g} s each, {result['matches_s']:g} matches/s with"
        f" a reservation, {CHURN_PER_MIN:.0%} of the miners leave and come a minute, {result['minutes']:g} min\n"
    )
    lines = ["", head, _latencies(found), "", _memory_by_minute(found["rows"]), "", _memory(found["memory"], found)]
    lines += ["", _kept(found["rows"]), "", _done(found)]
    if "beyond" in result:
        lines += ["", beyond_tables(result["beyond"])]
    return "\n".join(lines)


def _latencies(found: dict[str, Any]) -> str:
    header = (
        "minute", "sockets", "heartbeats", "ack p50 ms", "p99", "max", "matches", "p50 ms", "p99", "max", "feedback",
        "p50 ms", "p99", "max", "lag ms", "errors",
    )  # fmt: skip
    rows: list[Sequence[object]] = [
        [row["minute"], row["open"], row["beats"], *_three(row["ack"]), *_four(row["match"]), *_four(row["feedback"]),
         row["lag_ms"], sum(row["errors"].values())]
        for row in found["rows"]
    ]  # fmt: skip
    whole = found["all"]
    rows.append(
        ["all", None, sum(row["beats"] for row in found["rows"]), *_three(whole["ack"]), *_four(whole["match"]),
         *_four(whole["feedback"]), found["worst_lag_ms"], sum(found["errors"].values())]
    )  # fmt: skip
    return harness.table(header, rows)


def _three(each: dict[str, Any]) -> list[object]:
    return [each["p50_ms"], each["p99_ms"], each["max_ms"]]


def _four(each: dict[str, Any]) -> list[object]:
    return [each["samples"], *_three(each)]


def _memory_by_minute(rows: Sequence[dict[str, Any]]) -> str:
    return harness.table(
        ("minute", *(f"{part} MB" for part in SHOWN)),
        [[row["minute"], *(row["memory_mb"].get(part) for part in SHOWN)] for row in rows],
    )


def _memory(memory: dict[str, dict[str, Any]], found: dict[str, Any]) -> str:
    return harness.table(
        ("part", "processes", "first MB", "last MB", "MB/min, last two thirds", "at most", "flat", "cores used"),
        [
            [part, each["processes"], each["first_mb"], each["last_mb"], each["mb_per_min"],
             each["allowed_mb_per_min"], "yes" if each["flat"] else "**no**", found["processor_share"].get(part)]
            for part, each in memory.items()
        ],
    )  # fmt: skip


def _kept(rows: Sequence[dict[str, Any]]) -> str:
    names = list(rows[0]["kept"]["rows"])
    shown = [name.partition("_")[2] for name in names]
    return harness.table(
        ("minute", "Redis MB", "keys", "database MB", *shown),
        [
            [row["minute"], row["kept"]["redis_mb"], row["kept"]["redis_keys"], row["kept"]["database_mb"],
             *(row["kept"]["rows"][name] for name in names)]
            for row in rows
        ],
    )  # fmt: skip


def _done(found: dict[str, Any]) -> str:
    done = found["done"]
    return (
        f"{done['granted']:,} reservations were granted and stored: {done['ended']:,} ended, {done['expired']:,} ran"
        f" out, none was given twice. {done['feedback']:,} feedbacks were acknowledged, stored and counted."
        f" {done['heartbeats_sent']:,} heartbeats were sent, {done['heartbeats_counted']:,} counted a moment later."
        f" Least miners online: {found['least_online']:,}. Looks at health that were not ok: {found['unhealthy']}."
        f" Errors: {found['errors'] or 'none'}."
    )


def plot(result: dict[str, Any]) -> None:
    memory = result["steady"]["memory"]
    panels = {
        f"resident, {each} MB": {p: memory[p][f"{each}_mb"] for p in SHOWN if p in memory} for each in ("first", "last")
    }
    plots.bars(harness.folder_of(result) / NAME, panels, y="MB")


def _full(result: Result) -> bool:
    return (result["miners"], result["matches_s"]) == (MINERS, MATCHES_S)


def _errors(result: Result) -> float | None:
    return float(sum(result["steady"]["errors"].values())) if _full(result) else None


def _growing(result: Result) -> float | None:
    return float(sum(not each["flat"] for each in result["steady"]["memory"].values())) if _full(result) else None


def _goodput(result: Result) -> float | None:
    return min(each["goodput"] for each in result["beyond"]["floods"]) if _full(result) else None


def _lost(result: Result) -> float | None:
    return float(result["beyond"]["miners_lost"]) if _full(result) else None


def _back(result: Result) -> float | None:
    if not _full(result):
        return None
    found = result["beyond"]["back_after_s"]
    return math.inf if found is None else float(found)  # not within the time that was looked at


FIGURES: tuple[Figure, ...] = (
    at_most("5,000 miners, 100 matches/s: errors", 0, "", _errors),
    at_most("the same: parts whose memory grows", 0, "", _growing),
    at_least("beyond capacity: matches/s of the best seen", 0.8, "×", _goodput),
    at_most("beyond capacity: miners that count as offline", 0, "", _lost),
    at_most("beyond capacity: matches are quick again after", 5, "s", _back),
)
