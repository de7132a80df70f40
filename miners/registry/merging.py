"""What miners report, merged into the columns: one report where it arrived, batches of them in every other process.

Every field keeps the time of what it holds: a newer report takes its place, an older one changes nothing. Two writers
never stamp the same time (see `Registry.stamp`), and one writer's records come in its order, so any way of arrival ends
alike everywhere. What was reported before the miner's session began counts for nothing. The caller holds the
registry's lock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miners.registry import beats
from miners.registry.bitmaps import Mask, Rows
from miners.registry.columns import COLUMNS, INF, Columns

if TYPE_CHECKING:
    from miners.registry.records import Report
    from miners.registry.store import Registry

OBSERVED_FROM = 5  # measurements from which the hub's own mean overrules what a miner claims (contract, section 4)

# field of Report and of a beat, its bit, its column; the time of what it holds is in the column …_at
MEASURED = (
    ("latency_ms", beats.LATENCY, "reported_latency"),
    ("temp_c", beats.TEMP, "temp_c"),
    ("mem_free_gb", beats.MEM, "mem_free_gb"),
)
LOAD = (("queue_len", beats.QUEUE), ("jobs", beats.JOBS), ("busy", beats.BUSY))
TIMED = ("ts", "queue_len", "jobs", "busy", "reported_latency", "temp_c", "mem_free_gb")
DEFAULTS = {column.name: column.default for column in COLUMNS if column.name in TIMED}


def apply_report(registry: Registry, slot: int, report: Report, at: float) -> None:
    """One report, in the process where it arrived, as of `at`.

    Written out field by field, with `item` for what is read: it runs for every heartbeat, and a NumPy scalar costs
    more than all that is done with it.
    """
    columns = registry.columns
    if at < columns.since.item(slot):
        return
    if report.ts is not None:
        _take(columns.ts, columns.ts_at, slot, at, report.ts)
    if report.temp_c is not None:
        _take(columns.temp_c, columns.temp_c_at, slot, at, report.temp_c)
    if report.mem_free_gb is not None:
        _take(columns.mem_free_gb, columns.mem_free_gb_at, slot, at, report.mem_free_gb)
    is_new = False
    if report.latency_ms is not None:
        _take(columns.reported_latency, columns.reported_latency_at, slot, at, report.latency_ms)
        is_new = settle_latency(registry, slot)
    if _take_load(columns, slot, report, at) or is_new:
        registry.states.settle_load(slot)


def _take_load(columns: Columns, slot: int, report: Report, at: float) -> bool:
    """True where it changed what others occupy."""
    queue_len, jobs, busy = report.queue_len, report.jobs, report.busy
    if queue_len is None and jobs is None and busy is None:
        return False
    if at >= _load_at(columns, slot):
        columns.own_then[slot] = columns.own[slot]
    if queue_len is not None:
        _take(columns.queue_len, columns.queue_len_at, slot, at, queue_len)
    if jobs is not None:
        _take(columns.jobs, columns.jobs_at, slot, at, jobs)
    if busy is not None:
        _take(columns.busy, columns.busy_at, slot, at, busy)
    return _settle_foreign(columns, slot)


def settle_load(registry: Registry, slot: int) -> None:
    """Bring all that follows from the load in step with it."""
    _settle_foreign(registry.columns, slot)
    registry.states.settle_load(slot)


def _settle_foreign(columns: Columns, slot: int) -> bool:
    """foreign = max(0, reported - own at the time of the report) (contract, section 4, capacity); True if changed."""
    reported = max(columns.queue_len.item(slot), columns.jobs.item(slot), columns.busy.item(slot))
    foreign = max(0, reported - columns.own_then.item(slot))
    if foreign == columns.foreign.item(slot):
        return False
    columns.foreign[slot] = foreign
    return True


def settle_latency(registry: Registry, slot: int) -> bool:
    """True where the effective latency has changed."""
    columns = registry.columns
    source = columns.latency_mean if columns.latency_count.item(slot) >= OBSERVED_FROM else columns.reported_latency
    latency, held = source.item(slot), columns.latency.item(slot)
    if latency == held or (math.isnan(latency) and math.isnan(held)):
        return False
    columns.latency[slot] = latency
    registry.ranks.touch(columns.region.item(slot))
    return True


def begin_session(registry: Registry, slot: int, since: float) -> None:
    """Forget what was reported before; what came since then, by a quicker way, stays."""
    columns = registry.columns
    columns.since[slot] = since
    for name in TIMED:
        times = getattr(columns, f"{name}_at")
        if times[slot] <= since:
            getattr(columns, name)[slot] = DEFAULTS[name]
            times[slot] = -INF
    if _load_at(columns, slot) == -INF:
        columns.own_then[slot] = 0
    settle_latency(registry, slot)
    settle_load(registry, slot)


def apply_beats(registry: Registry, batch: beats.Beats) -> NDArray[np.uint64]:
    """Merge reports that came to other processes; the primary keys that this registry does not know."""
    slots = registry.pks.slots_of(batch["pk"])
    known = slots >= 0
    unknown: NDArray[np.uint64] = np.unique(batch["pk"][~known])
    if len(unknown):
        batch, slots = batch[known], slots[known]
    order = np.argsort(batch["at"], kind="stable")  # of a miner's several records the last one written stays
    batch, slots = batch[order], slots[order]
    if not len(batch):
        return unknown
    _contacts(registry, slots, batch["at"])
    valid = batch["at"] >= registry.columns.since[slots]
    batch, slots = batch[valid], slots[valid]
    named, at, columns = batch["named"], batch["at"], registry.columns
    _merge(columns, "ts", slots, at, batch["ts"], named & beats.TS != 0)
    for name, bit, column in MEASURED:
        _merge(columns, column, slots, at, batch[name], named & bit != 0)
    measured = np.unique(slots[named & beats.LATENCY != 0])
    settle_latencies(registry, measured)
    loaded = named & (beats.QUEUE | beats.JOBS | beats.BUSY) != 0
    rows = slots[loaded]
    newest = at[loaded] >= _load_at_rows(columns, rows)
    _merge(columns, "queue_len", slots, at, batch["queue_len"], named & beats.QUEUE != 0)
    _merge(columns, "jobs", slots, at, batch["jobs"], named & beats.JOBS != 0)
    _merge(columns, "busy", slots, at, named & beats.IS_BUSY != 0, named & beats.BUSY != 0)
    columns.own_then[rows[newest]] = batch["own"][loaded][newest]
    settle_loads(registry, np.union1d(rows, measured))
    return unknown


def state_of(registry: Registry, rows: Rows) -> beats.Beats:
    """What the columns hold of these slots, as the fewest records that merge into the same."""
    columns = registry.columns
    times = np.stack([getattr(columns, f"{name}_at")[rows] for name in TIMED])
    seen = columns.last_seen[rows]
    parts = []
    left = np.isfinite(times)
    while True:
        at = np.where(left, times, -INF).max(axis=0)
        some = np.isfinite(at)
        if not some.any():
            break
        now = left & (times == at)
        parts.append(_records(columns, rows[some], at[some], now[:, some]))
        left &= ~now
    contact = np.isfinite(seen) & (seen > np.where(np.isfinite(times), times, -INF).max(axis=0))
    if contact.any():
        parts.append(
            _records(columns, rows[contact], seen[contact], np.zeros((len(TIMED), int(contact.sum())), np.bool_))
        )
    return np.concatenate(parts[::-1]) if parts else np.empty(0, beats.BEAT)


def _records(columns: Any, rows: Rows, at: NDArray[np.float64], named: NDArray[np.bool_]) -> beats.Beats:
    made = np.zeros(len(rows), beats.BEAT)
    made["pk"], made["at"] = columns.pk[rows], at
    bits = (beats.TS, beats.QUEUE, beats.JOBS, beats.BUSY, beats.LATENCY, beats.TEMP, beats.MEM)
    for bit, chosen in zip(bits, named, strict=True):
        made["named"] |= np.where(chosen, bit, 0).astype(np.uint16)
    made["named"] |= np.where(named[3] & (columns.busy[rows] > 0), beats.IS_BUSY, 0).astype(np.uint16)
    made["ts"] = np.where(named[0], columns.ts[rows], 0)
    for name, column in (
        ("queue_len", "queue_len"),
        ("jobs", "jobs"),
        *((name, column) for name, _, column in MEASURED),
    ):
        made[name] = getattr(columns, column)[rows]
    made["own"] = np.minimum(columns.own_then[rows], beats.MAX_OWN)
    return made


def settle_loads(registry: Registry, rows: Rows) -> None:
    columns = registry.columns
    reported = np.maximum(np.maximum(columns.queue_len[rows], columns.jobs[rows]), columns.busy[rows])
    columns.foreign[rows] = np.maximum(reported.astype(np.int64) - columns.own_then[rows], 0)
    registry.states.settle_load_rows(rows)


def settle_latencies(registry: Registry, rows: Rows) -> None:
    columns = registry.columns
    observed = columns.latency_count[rows] >= OBSERVED_FROM
    latency = np.where(observed, columns.latency_mean[rows], columns.reported_latency[rows])
    held = columns.latency[rows]
    changed = ~((latency == held) | (np.isnan(latency) & np.isnan(held)))
    columns.latency[rows[changed]] = latency[changed]
    for region in np.unique(columns.region[rows[changed]]):
        registry.ranks.touch(int(region))


def _contacts(registry: Registry, slots: Rows, at: NDArray[np.float64]) -> None:
    back = registry.states.contact_rows(slots, at)
    for region in np.unique(registry.columns.region[back]):
        registry.ranks.touch(int(region))


def _load_at(columns: Columns, slot: int) -> float:
    """When the newest load report was made."""
    return max(columns.queue_len_at.item(slot), columns.jobs_at.item(slot), columns.busy_at.item(slot))


def _load_at_rows(columns: Columns, rows: Rows) -> NDArray[np.float64]:
    return np.maximum(np.maximum(columns.queue_len_at[rows], columns.jobs_at[rows]), columns.busy_at[rows])


def _take(held: NDArray[Any], times: NDArray[np.float64], slot: int, at: float, value: float) -> None:
    if at >= times.item(slot):
        held[slot] = value
        times[slot] = at


def _merge(columns: Any, name: str, slots: Rows, at: NDArray[np.float64], values: NDArray[Any], named: Mask) -> None:
    if not named.any():
        return
    rows, at, values = slots[named], at[named], values[named]
    held, times = getattr(columns, name), getattr(columns, f"{name}_at")
    newer = at >= times[rows]
    held[rows[newer]] = values[newer]
    times[rows[newer]] = at[newer]
