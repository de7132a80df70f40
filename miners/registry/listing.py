"""Pages, counts and means over all miners. The caller holds the registry's lock and has refreshed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from miners.registry import bitmaps, views
from miners.registry.bitmaps import Words
from miners.registry.records import MinerView, State
from miners.registry.terms import Kind

if TYPE_CHECKING:
    from miners.registry.store import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    state: str | None
    region: str | None
    capability: str | None
    tag: str | None
    min_vram_gb: float | None
    q: str | None


def page(
    registry: Registry, wanted: Wanted, *, now: float, limit: int, cursor: str | None
) -> tuple[list[MinerView], str | None]:
    rows = bitmaps.to_rows(_chosen(registry, wanted))
    labels = registry.columns.id_order
    if cursor is not None:
        first = registry.order.first_after(cursor)
        if first is None:
            return [], None
        rows = rows[labels[rows] >= labels[registry.slots[first]]]
    rows = rows[np.argsort(labels[rows])]
    found: list[int] = []
    for slot in rows.tolist():
        if wanted.q is None or _mentions(registry, slot, wanted.q.lower()):
            found.append(slot)
            if len(found) > limit:
                break
    more = len(found) > limit
    shown = found[:limit]
    return [views.view_of(registry, slot, now) for slot in shown], registry.ids[shown[-1]] if more else None


def counts(registry: Registry) -> dict[str, dict[State, int]]:
    regions = registry.terms.codes(Kind.REGION)
    result: dict[str, dict[State, int]] = {name: {} for name in regions.values()}
    for state in State:
        codes, numbers = np.unique(
            registry.columns.region[bitmaps.to_rows(in_state(registry, state))], return_counts=True
        )
        for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
            result[regions[code]][state] = number
    return result


def slots(registry: Registry) -> dict[str, tuple[int, int]]:
    """By region: slots of the miners that can be matched, and how many of them are taken."""
    columns = registry.columns
    rows = bitmaps.to_rows(in_state(registry, State.ONLINE) | in_state(registry, State.DEGRADED))
    total = columns.max_parallel[rows].astype(np.int64)
    used = np.minimum(columns.own[rows].astype(np.int64) + columns.foreign[rows], total)
    codes = columns.region[rows]
    totals, taken = np.bincount(codes, total), np.bincount(codes, used)
    names = registry.terms.codes(Kind.REGION)
    return {names[code]: (int(totals[code]), int(taken[code])) for code in np.unique(codes).tolist()}


def mean_latency_ms(registry: Registry) -> float | None:
    matchable = in_state(registry, State.ONLINE) | in_state(registry, State.DEGRADED)
    latency = registry.columns.latency[bitmaps.to_rows(matchable)]
    latency = latency[~np.isnan(latency)]
    return float(latency.mean()) if len(latency) else None


def _chosen(registry: Registry, wanted: Wanted) -> Words:
    words = bitmaps.words_for(registry.size)
    chosen = registry.states.present[:words].copy()
    if wanted.state is not None:
        chosen &= in_state(registry, State(wanted.state))
    if wanted.region is not None:
        chosen &= registry.terms.region_taken(wanted.region, words)
    if wanted.capability is not None:
        chosen &= registry.terms.words(Kind.CAPABILITY, wanted.capability, words)
    if wanted.tag is not None:
        chosen &= registry.terms.words(Kind.TAG, wanted.tag, words)
    if wanted.min_vram_gb is not None:
        chosen &= registry.ranges["gpu_vram"].at_least(wanted.min_vram_gb, registry.columns.gpu_vram, chosen)
    return chosen


def in_state(registry: Registry, state: State) -> Words:
    words = bitmaps.words_for(registry.size)
    states = registry.states
    present, disabled = states.present[:words], states.disabled[:words]
    live, draining = states.live[:words], states.draining[:words]
    if state is State.DISABLED:
        return present & disabled
    if state is State.OFFLINE:
        return present & ~disabled & ~live
    if state is State.DRAINING:
        return live & ~disabled & draining
    late, matchable = states.late[:words], live & ~disabled & ~draining
    return matchable & late if state is State.DEGRADED else matchable & ~late


def _mentions(registry: Registry, slot: int, part: str) -> bool:
    _, _, gpu_name = views.place_of(registry, slot)
    return part in registry.ids[slot].lower() or part in registry.addrs[slot].lower() or part in gpu_name.lower()
