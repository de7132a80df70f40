"""Many new miners into their slots at once: what `writing` does for one. The caller holds the registry's lock.

A registry that was filled holds what one holds in which the same miners were written one after another; only how a term
that few hold is stored, and so the codes of terms, may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miners.registry import merging
from miners.registry.attested import Hidden
from miners.registry.bitmaps import Rows
from miners.registry.records import ATTESTABLE, NOTHING_ATTESTED, Attested
from miners.registry.tables import Table
from miners.registry.terms import Kind
from miners.registry.writing import COPIED

if TYPE_CHECKING:
    from miners.registry.store import Registry

PLACES = ((Kind.REGION, "region"), (Kind.PROTO, "proto"), (Kind.GPU, "gpu_name"))  # one each, first in a slot's codes
LISTS = ((Kind.ACCEL, "accel"), (Kind.TAG, "tags"), (Kind.CAPABILITY, "capabilities"))


def fill(registry: Registry, slots: Rows, table: Table, now: float) -> None:
    """slots are new, and have their ids already."""
    table = _covered(registry, slots, table, now)
    columns, states, numbers = registry.columns, registry.states, table.numbers
    for name in COPIED:
        getattr(columns, name)[slots] = numbers[name]
    columns.own_price[slots] = numbers["price"]
    columns.price_cap[slots] = numbers["price_cap"]
    columns.latency_mean[slots] = numbers["latency_mean"]
    columns.drains[slots] = numbers["draining"] + 2 * numbers["operator_drain"].astype(np.uint8)
    session = numbers["session"]
    columns.session[slots] = session
    begun = (session != 0) & ~numbers["logged_out"]
    columns.since[slots[begun]] = np.minimum(now, session[begun] / 1e6)  # see next_session
    for slot, addr in zip(slots.tolist(), table.texts["addr"], strict=True):
        registry.addrs[slot] = addr
    states.put_rows("disabled", slots[numbers["disabled"]])
    states.put_rows("logged_out", slots[numbers["logged_out"]])
    _fill_terms(registry, slots, table)
    _fill_live(registry, slots, table)
    for at, windows in table.overrides.items():
        registry.prices.give(int(slots[at]), windows)
    settle(registry, slots, now)


def _covered(registry: Registry, slots: Rows, table: Table, now: float) -> Table:
    """With what is attested in place of what is claimed, which is kept aside: Attestations.cover() for many."""
    until = table.numbers["attested_until"]
    in_force = until > now
    numbers = {**table.numbers, "attested_until": np.where(in_force, until, 0.0)}
    if not in_force.any():
        return replace(table, numbers=numbers)
    numbers |= {name: numbers[name].copy() for name in ATTESTABLE if name in numbers}
    texts = {name: list(values) if name in ATTESTABLE else values for name, values in table.texts.items()}
    lists = {name: list(values) if name in ATTESTABLE else values for name, values in table.lists.items()}
    columns: dict[str, Any] = {**numbers, **texts, **lists}
    for at in np.flatnonzero(in_force).tolist():
        values = table.attested.get(at, NOTHING_ATTESTED).values()
        claims = Attested(**{name: _plain(columns[name][at]) for name in values})
        registry.attested.hide(int(slots[at]), Hidden(claims, float(until[at])))
        for name, value in values.items():
            columns[name][at] = value
    return replace(table, texts=texts, lists=lists, numbers=numbers)


def _plain(value: Any) -> Any:
    """As a MinerRow has it."""
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str) else tuple(value)


def settle(registry: Registry, slots: Rows, now: float) -> None:
    """Whatever follows from what was written into new slots."""
    columns, states = registry.columns, registry.states
    registry.edited(slots)
    for name, index in registry.ranges.items():
        column = getattr(columns, name)
        index.put_rows(slots, column[slots], column, states.present)
    states.put_rows("present", slots)
    states.put_rows("draining", slots[columns.drains[slots] > 0])
    registry.pks.put_rows(columns.pk[slots], slots)
    registry.prices.settle_rows(slots, now)
    registry.market.put_rows(registry, slots)
    columns.f_trust[slots] = registry.trust.exact(slots, now)
    merging.settle_latencies(registry, slots)
    merging.settle_loads(registry, slots)
    for region in np.unique(columns.region[slots]):
        registry.ranks.touch(int(region))
    states.expire_at_once()


def _fill_live(registry: Registry, slots: Rows, table: Table) -> None:
    columns, reported = registry.columns, table.reported
    rows = slots[reported]
    live = {name: values[reported] for name, values in table.live.items()}
    columns.last_seen[rows] = live["last_seen"]
    at = np.where(np.isnan(live["reported_at"]), live["last_seen"], live["reported_at"])
    for name in merging.TIMED:
        getattr(columns, f"{name}_at")[rows] = at
    columns.own_then[rows] = live["own"]
    for name in ("ts", "queue_len", "jobs", "busy", "temp_c", "mem_free_gb"):
        getattr(columns, name)[rows] = live[name]
    columns.reported_latency[rows] = live["latency_ms"]


def _fill_terms(registry: Registry, slots: Rows, table: Table) -> None:
    """Each miner's codes in its order, a term that it names twice once."""
    count = len(slots)
    everyone = np.arange(count)
    owners: list[NDArray[np.intp]] = []
    codes: list[NDArray[np.int64]] = []
    for kind, name in PLACES:
        owners.append(everyone)
        codes.append(registry.terms.codes_of(kind, table.texts[name]))
    for kind, name in LISTS:
        lists = table.lists[name]
        owners.append(np.repeat(everyone, np.fromiter(map(len, lists), np.intp, count)))
        codes.append(registry.terms.codes_of(kind, list(chain.from_iterable(lists))))
    owner, code = np.concatenate(owners), np.concatenate(codes)
    order = np.lexsort((owner, code))  # stable: of equal pairs the first named comes first
    owner_by_code, by_code = owner[order], code[order]
    again = np.zeros(len(order), np.bool_)
    again[1:] = (owner_by_code[1:] == owner_by_code[:-1]) & (by_code[1:] == by_code[:-1])
    if again.any():
        kept = np.ones(len(order), np.bool_)
        kept[order[again]] = False
        owner, code = owner[kept], code[kept]
        owner_by_code, by_code = owner_by_code[~again], by_code[~again]
    _hold(registry, by_code, slots[owner_by_code])
    by_owner = code[np.argsort(owner, kind="stable")].astype(np.uint32)
    ends = np.cumsum(np.bincount(owner, minlength=count)).tolist()
    data, start = by_owner.tobytes(), 0
    for slot, end in zip(slots.tolist(), ends, strict=True):
        registry.codes[slot] = data[4 * start : 4 * end]
        start = end
    registry.columns.region[slots] = codes[0]


def hold_codes(registry: Registry, vocabulary: Sequence[tuple[Kind, str] | None]) -> None:
    """Have the terms of an empty vocabulary held as the slots' codes say, which are there already."""
    registry.terms.name_all(vocabulary)
    counts = np.fromiter((len(each) // 4 for each in registry.codes), np.intp, registry.size)
    code = np.frombuffer(b"".join(registry.codes), np.uint32)
    order = np.argsort(code, kind="stable")
    _hold(registry, code[order].astype(np.int64), np.repeat(np.arange(registry.size), counts)[order])
    taken = np.flatnonzero(counts)
    registry.columns.region[taken] = code[(np.cumsum(counts) - counts)[taken]]


def _hold(registry: Registry, codes: NDArray[np.int64], slots: Rows) -> None:
    """codes are ascending; slots[i] holds codes[i]."""
    bounds = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
    for start, end in pairwise([*bounds, len(codes)]):
        registry.terms.put_rows(int(codes[start]), slots[start:end], len(registry.slots))
