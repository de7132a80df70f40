"""A durable row written into its slot. The caller holds the registry's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miners.registry import bitmaps, merging
from miners.registry.columns import NAN
from miners.registry.records import MinerRow
from miners.registry.terms import Kind

if TYPE_CHECKING:
    from miners.registry.store import Registry

RANGED = ("gpu_vram", "ram_gb", "gpu_count", "cpu_cores")
COPIED = (
    *RANGED, "pk", "version", "key_tag", "max_parallel", "trust_s", "trust_f", "trust_at", "latency_count",
    "attested_until",
)  # fmt: skip


def write_row(registry: Registry, slot: int, row: MinerRow, now: float) -> None:
    columns, states = registry.columns, registry.states
    row = registry.attested.cover(slot, row, now)
    new = not bitmaps.has_bit(states.present, slot)
    if not new:
        registry.ranks.touch(int(columns.region[slot]))
    index_ranges(registry, slot, row, new)
    states.memo.clear()
    bitmaps.set_bit(states.present, slot)
    for name in COPIED:
        getattr(columns, name)[slot] = getattr(row, name)
    registry.pks.put(row.pk, slot)
    registry.edited(slot)
    columns.own_price[slot] = row.price
    columns.price_cap[slot] = -1 if row.price_cap is None else row.price_cap
    columns.latency_mean[slot] = NAN if row.latency_mean is None else row.latency_mean
    if row.session != columns.session[slot]:
        columns.session[slot] = row.session
        if not row.logged_out:  # a new session starts afresh; one that has ended leaves what was last known
            merging.begin_session(registry, slot, min(now, row.session / 1e6))  # see next_session
    registry.addrs[slot] = row.addr
    write_terms(registry, slot, row)
    bitmaps.put_bit(states.disabled, slot, row.disabled)
    if row.logged_out:
        bitmaps.clear_bit(states.live, slot)
    elif bitmaps.has_bit(states.logged_out, slot):
        states.expire_at_once()
    bitmaps.put_bit(states.logged_out, slot, row.logged_out)
    bitmaps.put_bit(states.draining, slot, row.draining or row.operator_drain)
    columns.drains[slot] = row.draining + 2 * row.operator_drain
    registry.prices.put(slot, row.overrides, now)
    registry.market.put(slot, row.gpu_name, row.region)
    columns.f_trust[slot] = registry.trust.exact(np.array([slot]), now)[0]
    merging.settle_latency(registry, slot)
    merging.settle_load(registry, slot)
    registry.ranks.touch(int(columns.region[slot]))


def index_ranges(registry: Registry, slot: int, row: MinerRow, new: bool) -> None:
    for name, index in registry.ranges.items():
        value, column = getattr(row, name), getattr(registry.columns, name)
        if not new and column[slot] == value:
            continue
        if not new:
            index.drop(slot)
        index.put(slot, value, column, registry.states.present)


def write_terms(registry: Registry, slot: int, row: MinerRow) -> None:
    wanted = [(Kind.REGION, row.region), (Kind.PROTO, row.proto), (Kind.GPU, row.gpu_name)]
    wanted += [(Kind.ACCEL, name) for name in dict.fromkeys(row.accel)]
    wanted += [(Kind.TAG, name) for name in dict.fromkeys(row.tags)]
    wanted += [(Kind.CAPABILITY, name) for name in dict.fromkeys(row.capabilities)]
    drop_terms(registry, slot)
    codes = [registry.terms.add(kind, name, slot, len(registry.slots)) for kind, name in wanted]
    registry.codes[slot] = np.array(codes, np.uint32).tobytes()
    registry.columns.region[slot] = codes[0]


def drop_terms(registry: Registry, slot: int) -> None:
    for code in np.frombuffer(registry.codes[slot], np.uint32).tolist():
        registry.terms.discard(code, slot)
