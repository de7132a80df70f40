"""One process of a hub for the benchmark of starts: python -m benchmarks.starting HOW, as JSON.

database, snapshot: as the hub starts, up to its first match. row by row, fetchall: the references. The others work
until their input ends, and answer a command a line: keep makes the snapshot, and tells what that costs; report passes
on heartbeats; match matches for a second.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from random import Random
from time import perf_counter, process_time, thread_time
from typing import Any

import django
import numpy as np
from django.db import connection

django.setup()

from benchmarks.engines import rows as one_by_one  # noqa: E402
from benchmarks.jobs import JOBS  # noqa: E402
from benchmarks.processes import serve_lines  # noqa: E402
from matching.scoring.pipeline import match  # noqa: E402
from miners.models import Miner, MinerStatus  # noqa: E402
from miners.registry import bitmaps, keeper, loader, runtime, snapshot, sync, views  # noqa: E402
from miners.registry.records import LiveStatus, MinerRow, Report  # noqa: E402
from miners.registry.store import Registry  # noqa: E402
from miners.registry.terms import Kind  # noqa: E402
from poolhub.common import clock  # noqa: E402

QUERY = JOBS["unselective"]["any"]
CHUNK = 2000
HEARTBEATS_A_S = 5_000
COMPARED = ("pk", "version", "price", "gpu_vram", "ram_gb", "cpu_cores", "max_parallel", "trust_s", "latency", "f_load")


def started(how: str) -> dict[str, Any]:
    """Seconds to the first match, by the clock and of the processor."""
    list(Miner.objects.values_list("id")[:1])  # the connection is there
    begun, begun_cpu = perf_counter(), process_time()
    if how == "fetchall":
        with connection.cursor() as cursor:
            cursor.execute(*loader.stored_query().sql_with_params())
            found = len(cursor.fetchall())
        return {**spent(begun, begun_cpu), "miners": found}
    registry = row_by_row() if how == "row by row" else runtime.get_registry()
    with registry.lock:
        answer = match(registry, QUERY, now=clock.now())
    times = spent(begun, begun_cpu)
    assert answer.considered == len(registry) > answer.eligible > 0
    opened = runtime.opened()
    assert how == "row by row" or (opened is not None and opened.source == how)
    runtime.stop()
    return {**times, "miners": len(registry), "digest": digest(registry)}


def spent(begun: float, begun_cpu: float) -> dict[str, float]:
    """process_s: since the process was asked for."""
    return {
        "seconds": perf_counter() - begun,
        "cpu_s": process_time() - begun_cpu,
        "process_s": time.time() - float(os.environ["ASKED_AT"]),
    }


def digest(registry: Registry) -> str:
    """Of what every way must have found, whenever it looked: who is there, what holds of each, and who holds what."""
    slots = [registry.slots[miner_id] for miner_id in sorted(registry.slots)]
    found = hashlib.sha256("".join(sorted(registry.slots)).encode())
    for name in COMPARED:
        found.update(getattr(registry.columns, name)[slots].tobytes())
    for slot in slots:
        found.update(repr((registry.addrs[slot], views.terms_of(registry, slot))).encode())
    for kind in Kind:
        for name in sorted(registry.terms.codes(kind).values()):
            holders = registry.terms.words(kind, name, bitmaps.words_for(registry.size))
            found.update(f"{kind} {name} {bitmaps.count(holders)}".encode())
    return found.hexdigest()


def row_by_row() -> Registry:
    """Each row through Django's conversions and into its slot, one after another."""
    registry, now = runtime.new_registry(), clock.now()
    one_by_one.write(registry, _rows(now, registry.states.grace_s), now=now)
    return registry


def _rows(now: float, grace_s: float) -> Iterator[tuple[MinerRow, LiveStatus | None]]:
    overrides = loader.windows_by_miner(now)
    statuses = MinerStatus.objects.filter(last_seen__isnull=False).values_list("miner_id", *loader.REPORTED)
    reported = {}
    for miner_id, last_seen, ts, *rest in statuses.iterator(CHUNK):
        at = last_seen.timestamp()
        names = dict(zip(loader.REPORTED[2:], rest, strict=True))
        reported[miner_id] = LiveStatus(
            last_seen=now if now - at <= grace_s else at, reported_at=at,
            ts=None if ts is None else ts.timestamp(), **names,
        )  # fmt: skip
    for miner in Miner.objects.order_by("id").values_list(*loader.DURABLE, named=True).iterator(CHUNK):
        yield loader.row_of(miner, overrides.get(miner.id, ())), reported.get(miner.miner_id)


def keep() -> None:
    """Make it as a worker does."""
    registry = runtime.get_registry()
    while not runtime.snapshot_make():
        time.sleep(0.05)
    runtime.every(keeper.PERIOD_S, runtime.snapshot_make, "snapshot")
    _tell({"miners": len(registry)})
    bus = runtime.bus()
    assert bus is not None
    serve_lines({"costs": lambda: costs(bus)})
    runtime.stop()


def costs(bus: Any) -> dict[str, float]:
    """ms of the processor, and bytes: of all of it, and of what is told each time."""
    found: dict[str, float] = {}
    known: dict[int, int] = {}
    for what in ("all", "live"):
        begun, begun_clock = thread_time(), perf_counter()
        copy = bus.copied(known)
        copied, held = thread_time(), perf_counter() - begun_clock
        parts = snapshot.encoded(copy)
        encoded = thread_time()
        known = copy.edits
        found |= {
            f"copy_{what}_ms": (copied - begun) * 1e3, f"lock_{what}_ms": held * 1e3,
            f"encode_{what}_ms": (encoded - copied) * 1e3, f"bytes_{what}": sum(map(len, parts.values())),
        }  # fmt: skip
    maker = keeper.Maker(bus, sync.connect(runtime.PATIENCE_S))
    maker._client.delete(keeper.LEASE)
    for what in ("all", "live"):
        maker._due = 0.0
        begun = thread_time()
        assert maker.make()
        found[f"make_{what}_ms"] = (thread_time() - begun) * 1e3
    found["rest_s"] = maker._due - time.monotonic()
    return found


def report() -> None:
    """Heartbeats to miners drawn at random."""
    registry, draw = runtime.get_registry(), Random(1)
    ids = list(registry.slots)
    over, begun, sent = threading.Event(), time.monotonic(), 0

    def go_on() -> None:
        nonlocal sent
        while not over.wait(0.01):
            for _ in range(int((time.monotonic() - begun) * HEARTBEATS_A_S) - sent):
                now = clock.now()
                told = Report(at=now, ts=now, queue_len=draw.randrange(3), latency_ms=float(draw.randrange(20, 300)))
                registry.report(draw.choice(ids), told)
                sent += 1

    reporting = threading.Thread(target=go_on)
    reporting.start()
    _tell({"miners": len(ids)})
    serve_lines({"a_second": lambda: sent / (time.monotonic() - begun)})
    over.set()
    reporting.join()
    runtime.stop()


def matches() -> None:
    registry = runtime.get_registry()

    def a_second() -> dict[str, float]:
        until, spent = time.monotonic() + 1.0, []
        while time.monotonic() < until:
            begun = perf_counter()
            with registry.lock:
                answer = match(registry, QUERY, now=clock.now())
            spent.append((perf_counter() - begun) * 1e3)
            assert answer.candidates
        return {"p50_ms": float(np.percentile(spent, 50)), "p99_ms": float(np.percentile(spent, 99))}

    _tell({"miners": len(registry)})
    serve_lines({"a_second": a_second})
    runtime.stop()


def _tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    others = {"keep": keep, "report": report, "match": matches}
    if sys.argv[1] in others:
        others[sys.argv[1]]()
    else:
        _tell(started(sys.argv[1]))
