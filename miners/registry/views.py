"""One miner read back out of the columns. The caller holds the registry's lock."""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from miners.registry import bitmaps
from miners.registry.prices import PRICE_SOURCES
from miners.registry.records import LiveStatus, MinerRow, MinerView, State
from miners.registry.terms import Kind

if TYPE_CHECKING:
    from miners.registry.store import Registry

HEAD = Struct("=3I")  # the first three term codes of a slot: region, protocol, GPU name


def state_of(registry: Registry, slot: int, now: float) -> State:
    states = registry.states
    if bitmaps.has_bit(states.disabled, slot):
        return State.DISABLED
    if registry.is_silent(slot, now):
        return State.OFFLINE
    if bitmaps.has_bit(states.draining, slot):
        return State.DRAINING
    late = now - float(registry.columns.last_seen[slot]) > states.session_ttl_s
    return State.DEGRADED if late else State.ONLINE


def view_of(registry: Registry, slot: int, now: float) -> MinerView:
    columns = registry.columns
    return MinerView(
        row=row_of(registry, slot),
        live=live_of(registry, slot),
        state=state_of(registry, slot, now),
        price=int(columns.price[slot]),
        price_source=PRICE_SOURCES[columns.price_source[slot]],
        trust=float(registry.trust.exact(np.array([slot]), now)[0]),
        lease_expires_at=float(columns.last_seen[slot]) + registry.states.session_ttl_s,
        reservations=int(columns.own[slot]),
        market=registry.market.position(slot),
    )


def live_of(registry: Registry, slot: int) -> LiveStatus:
    columns = registry.columns
    return LiveStatus(
        last_seen=float(columns.last_seen[slot]),
        ts=known(columns.ts[slot]),
        queue_len=int(columns.queue_len[slot]),
        busy=bool(columns.busy[slot]),
        jobs=int(columns.jobs[slot]),
        foreign=int(columns.foreign[slot]),
        own=int(columns.own[slot]),
        latency_ms=known(columns.reported_latency[slot]),
        temp_c=known(columns.temp_c[slot]),
        mem_free_gb=known(columns.mem_free_gb[slot]),
    )


def terms_of(registry: Registry, slot: int) -> list[tuple[Kind, str]]:
    """Region, protocol and GPU name, then the accelerators, tags and capabilities in the miner's order."""
    return [registry.terms.kind_and_name(code) for code in np.frombuffer(registry.codes[slot], np.uint32).tolist()]


def place_of(registry: Registry, slot: int) -> tuple[str, str, str]:
    """Region, protocol and GPU name."""
    region, proto, gpu_name = HEAD.unpack_from(registry.codes[slot])
    name = registry.terms.name
    return name(region), name(proto), name(gpu_name)


def row_of(registry: Registry, slot: int) -> MinerRow:
    """As it was written there: with what the miner claims, and what is attested beside it."""
    columns, states = registry.columns, registry.states
    named = terms_of(registry, slot)
    (_, region), (_, proto), (_, gpu_name) = named[:3]
    lists = {wanted: tuple(name for kind, name in named[3:] if kind is wanted) for wanted in Kind}
    drains = int(columns.drains[slot])
    shown = MinerRow(
        pk=int(columns.pk[slot]),
        miner_id=registry.ids[slot],
        version=int(columns.version[slot]),
        session=int(columns.session[slot]),
        key_tag=int(columns.key_tag[slot]),
        addr=registry.addrs[slot],
        proto=proto,
        gpu_name=gpu_name,
        gpu_vram=float(columns.gpu_vram[slot]),
        gpu_count=int(columns.gpu_count[slot]),
        cpu_cores=int(columns.cpu_cores[slot]),
        ram_gb=float(columns.ram_gb[slot]),
        price=int(columns.own_price[slot]),
        price_cap=None if columns.price_cap[slot] < 0 else int(columns.price_cap[slot]),
        overrides=registry.prices.windows(slot),
        max_parallel=int(columns.max_parallel[slot]),
        region=region,
        accel=lists[Kind.ACCEL],
        tags=lists[Kind.TAG],
        capabilities=lists[Kind.CAPABILITY],
        draining=bool(drains & 1),
        operator_drain=bool(drains & 2),
        disabled=bitmaps.has_bit(states.disabled, slot),
        logged_out=bitmaps.has_bit(states.logged_out, slot),
        trust_s=float(columns.trust_s[slot]),
        trust_f=float(columns.trust_f[slot]),
        trust_at=float(columns.trust_at[slot]),
        latency_mean=known(columns.latency_mean[slot]),
        latency_count=int(columns.latency_count[slot]),
        attested_until=float(columns.attested_until[slot]),
    )
    return registry.attested.claimed(slot, shown)


def known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
