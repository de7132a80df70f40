"""The numbers of the admin's dashboard, one snapshot for everybody who looks on.

Where each comes from, and so what it covers:
- miners, slots, lag: the registry of the process that answers, which follows the whole pool.
- counters: the metrics of this process, or of all processes of this machine where PROMETHEUS_MULTIPROC_DIR is set. They
  only ever grow; the page makes rates of two snapshots.
- reservations: the store of the whole hub. Database, Redis and worker: asked now.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from heapq import nlargest
from time import monotonic

from django.conf import settings
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from matching.reservations.runtime import get_ledger
from miners.registry import listing
from miners.registry.records import State
from miners.registry.runtime import get_registry
from poolhub import chores, multiproc
from poolhub.common import clock, metrics
from poolhub.common.errors import Unavailable
from poolhub.common.text import visible
from poolhub.health import health

FRESH_S = 1.0  # so long a snapshot is good for everybody
MAX_REGIONS = 12
OTHER = "other"
COUNTED = (
    metrics.MATCH_REQUESTS, metrics.MATCH_REJECTIONS, metrics.MATCH_EMPTY, metrics.HEARTBEATS, metrics.FEEDBACK,
    metrics.COMMANDS,
)  # fmt: skip
BY = ("outcome", "constraint", "transport", "event")  # the one label of each


class Region(Struct):
    name: str
    states: dict[str, int]
    slots: int  # of miners that can be matched
    used: int


class Parts(Struct):
    status: str  # ok | degraded
    database: str  # ok | down
    redis: str  # ok | down | off
    worker: str  # ok | missing | off
    worker_seen_s: float | None
    lag_ms: float


class Snapshot(Struct):
    at: float  # epoch seconds
    counts_of: str  # whose counters: this process, or all of this machine
    regions: list[Region]
    counters: dict[str, dict[str, float]]
    latency: dict[str, float]  # matches by upper bound, in ms, cumulative
    reservations: int | None  # None = the store is away
    parts: Parts


_lock = threading.Lock()
_kept: tuple[float, Snapshot] | None = None


def snapshot() -> Snapshot:
    """At most FRESH_S old. However many ask, one of them works."""
    global _kept
    with _lock:
        if _kept is None or monotonic() - _kept[0] > FRESH_S:
            made = _make()
            _kept = (monotonic(), made)
        return _kept[1]


def forget() -> None:
    """Make the next one anew: for tests."""
    global _kept
    _kept = None


def _make() -> Snapshot:
    now = clock.now()
    together = multiproc.folder() is not None
    counters, latency = _counted()
    reservations = None
    with suppress(Unavailable):
        reservations = len(get_ledger().live(now=now))
    return Snapshot(
        at=now,
        counts_of="machine" if together else f"process {os.getpid()}",
        regions=_regions(now),
        counters=counters,
        latency=latency,
        reservations=reservations,
        parts=_parts(now),
    )


def _regions(now: float) -> list[Region]:
    registry = get_registry()
    with registry.lock:
        counts, slots = registry.counts(now=now), listing.slots(registry)
    shown = set(nlargest(MAX_REGIONS, counts, key=lambda name: sum(counts[name].values())))
    found: dict[str, Region] = {}
    for name, states in counts.items():
        if not states:
            continue
        region = found.setdefault(
            name if name in shown else OTHER,
            Region(visible(name) or "(none)" if name in shown else OTHER, {state.value: 0 for state in State}, 0, 0),
        )
        for state, number in states.items():
            region.states[state.value] += number
        total, used = slots.get(name, (0, 0))
        region.slots += total
        region.used += used
    return sorted(found.values(), key=lambda region: (region.name == OTHER, region.name))


def _counted() -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    counters: dict[str, dict[str, float]] = {each._name: {} for each in COUNTED}
    latency: defaultdict[str, float] = defaultdict(float)
    for metric in _metrics():
        for sample in metric.samples:
            if metric.name in counters and sample.name.endswith("_total"):
                label = next((sample.labels[name] for name in BY if name in sample.labels), "")
                of = counters[metric.name]
                of[label] = of.get(label, 0.0) + sample.value
            elif metric.name == metrics.MATCH_LATENCY._name and sample.name.endswith("_bucket"):
                latency[sample.labels["le"]] += sample.value
    short = {name.removeprefix("poolhub_"): values for name, values in counters.items()}
    return short, dict(sorted(latency.items(), key=lambda item: float(item[0])))


def _metrics() -> Iterable[Metric]:
    where = multiproc.folder()
    if where is None:
        return [metric for each in (*COUNTED, metrics.MATCH_LATENCY) for metric in each.collect()]
    collector = MultiProcessCollector(CollectorRegistry(), str(where))  # type: ignore[no-untyped-call]
    with multiproc.locked(where, alone=False):
        return list(collector.collect())  # type: ignore[no-untyped-call]


def _parts(now: float) -> Parts:
    found = health()
    seen_at = chores.worker_seen_at() if settings.REDIS_URL else None
    worker = "off" if not settings.REDIS_URL else "missing" if seen_at is None else "ok"
    return Parts(
        status=found.status,
        database=found.db,
        redis=found.redis,
        worker=worker,
        worker_seen_s=None if seen_at is None else max(0.0, round(now - seen_at, 1)),
        lag_ms=found.registry.lag_ms,
    )
