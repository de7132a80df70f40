"""The registry and its pipeline, as a process of the hub runs them."""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.population import GRACE_S, HALF_LIFE_S, HEARTBEAT_S, NOW, SESSION_TTL_S, Population, miner_id
from matching.scoring.pipeline import match
from matching.scoring.types import MatchResult, Query
from miners.registry.records import Report
from miners.registry.store import Registry
from miners.registry.tables import table_of

SILENT_SHARE = 0.02  # of the miners that report fall silent: they turn degraded, then offline


def registry_of(population: Population) -> Registry:
    registry = Registry(session_ttl_s=SESSION_TTL_S, grace_s=GRACE_S, half_life_s=HALF_LIFE_S)
    registry.load([table_of(population.rows())], now=NOW, expected=population.size)
    return registry


def answer(registry: Registry, query: Query, now: float = NOW) -> MatchResult:
    with registry.lock:
        return match(registry, query, now=now)


def prepared(registry: Registry, query: Query) -> Callable[[], list[str]]:
    return lambda: [each.miner_id for each in answer(registry, query).candidates]


def heartbeats(registry: Registry, population: Population) -> Iterator[Callable[[float], None]]:
    """Endless reports in the miners' rhythm, each to be applied at a time: new load, latency and free memory."""
    order = np.argsort(population.last_seen, kind="stable")
    order = order[population.last_seen[order] > NOW - HEARTBEAT_S]
    draw = np.random.default_rng(population.seed)
    order = order[draw.random(len(order)) >= SILENT_SHARE]
    ids = [miner_id(int(index)) for index in order]
    while True:
        queue = draw.integers(0, 4, len(order)).tolist()
        latency = draw.integers(20, 300, len(order)).tolist()
        free = draw.integers(1, 24, len(order)).tolist()
        for each in zip(ids, queue, latency, free, strict=True):
            yield lambda at, each=each: _report(registry, at, *each)


def _report(registry: Registry, at: float, name: str, queue_len: int, latency_ms: int, mem_free_gb: int) -> None:
    registry.report(
        name,
        Report(at=at, ts=at, queue_len=queue_len, latency_ms=float(latency_ms), mem_free_gb=float(mem_free_gb)),
    )
