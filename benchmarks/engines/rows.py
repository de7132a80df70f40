"""The reference of filling a registry: one miner after another, as each was written before they were by column."""

from collections.abc import Iterable

from miners.registry import merging
from miners.registry.columns import INF, NAN
from miners.registry.records import LiveStatus, MinerRow
from miners.registry.store import Registry


def write(registry: Registry, miners: Iterable[tuple[MinerRow, LiveStatus | None]], *, now: float) -> None:
    for row, live in miners:
        registry.upsert(row, now=now)
        if live is not None:
            restore_live(registry, registry.slots[row.miner_id], live)
    registry.states.expire_at_once()


def restore_live(registry: Registry, slot: int, live: LiveStatus) -> None:
    columns = registry.columns
    columns.last_seen[slot] = live.last_seen
    reported_at = live.last_seen if live.reported_at is None else live.reported_at
    for name in merging.TIMED:
        getattr(columns, f"{name}_at")[slot] = reported_at
    columns.own_then[slot] = live.own
    columns.ts[slot] = -INF if live.ts is None else live.ts
    columns.queue_len[slot] = live.queue_len
    columns.jobs[slot] = live.jobs
    columns.busy[slot] = live.busy
    columns.reported_latency[slot] = NAN if live.latency_ms is None else live.latency_ms
    columns.temp_c[slot] = NAN if live.temp_c is None else live.temp_c
    columns.mem_free_gb[slot] = NAN if live.mem_free_gb is None else live.mem_free_gb
    merging.settle_latency(registry, slot)
    merging.settle_load(registry, slot)
