"""Miners by what holds of them now, in any order: the primary keys of all of them, for lists of any length.

Takes the registry's lock itself, for as long as copies take: texts are searched and keys are sorted without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miners.registry import bitmaps, listing
from miners.registry.bitmaps import Rows, Words
from miners.registry.records import State
from miners.registry.terms import Kind

if TYPE_CHECKING:
    from miners.registry.store import Registry

INF = float("inf")


class Order(StrEnum):
    MINER_ID = "miner_id"
    STATE = "state"
    LOAD = "load"  # share of slots taken
    PRICE = "price"
    TRUST = "trust"
    TEMPERATURE = "temperature"
    LAST_SEEN = "last_seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """None = whatever it is."""

    state: State | None = None
    region: str | None = None  # exactly
    gpu: str | None = None  # exactly
    proto: str | None = None
    capability: str | None = None
    price_from: float = -INF  # effective, in units of 1e-8 tokens
    price_to: float = INF
    trust_from: float = -INF
    trust_to: float = INF
    text: str | None = None  # part of id, address, GPU name or region, whatever the case
    order: Order = Order.MINER_ID
    descending: bool = False


def choose(registry: Registry, choice: Choice, *, now: float) -> NDArray[np.int64]:
    """Primary keys, ordered; those that are equal in it, and unknown ones at the end, by miner_id."""
    named = None if not choice.text else _named(registry, choice.text.lower())
    with registry.lock:
        registry.refresh(now)
        rows = bitmaps.to_rows(_fitting(registry, choice, named))
        columns = registry.columns
        rows = rows[_within(columns.price[rows], choice.price_from, choice.price_to)]
        trust = registry.trust.exact(rows, now)
        fits = _within(trust, choice.trust_from, choice.trust_to) & (columns.pk[rows] > 0)
        rows, trust = rows[fits], trust[fits]
        pks, labels, key = columns.pk[rows], columns.id_order[rows], _key(registry, choice.order, rows, trust)
    by_id = np.argsort(labels)
    if key is None:
        return pks[by_id[::-1] if choice.descending else by_id]
    key = key[by_id]
    return pks[by_id[np.argsort(-key if choice.descending else key, kind="stable")]]  # NaN comes last either way


def _fitting(registry: Registry, choice: Choice, named: Rows | None) -> Words:
    words = bitmaps.words_for(registry.size)
    fitting: Words = registry.states.present[:words].copy()
    if choice.state is not None:
        fitting &= listing.in_state(registry, choice.state)
    for kind, name in (
        (Kind.REGION, choice.region), (Kind.GPU, choice.gpu), (Kind.PROTO, choice.proto),
        (Kind.CAPABILITY, choice.capability),
    ):  # fmt: skip
        if name is not None:
            fitting &= registry.terms.words(kind, name, words)
    if named is not None and choice.text:
        found = bitmaps.from_rows(named[named < registry.size], words)
        found |= registry.terms.named_like(Kind.GPU, choice.text, words)
        found |= registry.terms.named_like(Kind.REGION, choice.text, words)
        fitting &= found
    return fitting


def _named(registry: Registry, part: str) -> Rows:
    """Slots whose id or address has this part. A slot given away meanwhile may be told wrongly, once."""
    with registry.lock:
        ids, addrs = list(registry.ids), list(registry.addrs)
    pairs = zip(ids, addrs, strict=True)
    return np.fromiter(
        (slot for slot, (miner_id, addr) in enumerate(pairs) if part in miner_id.lower() or part in addr.lower()),
        np.intp,
    )


def _within(values: NDArray[np.int64] | NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (values >= low) & (values <= high)
    return result


def _key(registry: Registry, order: Order, rows: Rows, trust: NDArray[np.float64]) -> NDArray[Any] | None:
    columns = registry.columns
    keys: dict[Order, Callable[[], NDArray[Any]]] = {
        Order.STATE: lambda: _ranks(registry, rows),
        Order.LOAD: lambda: (columns.own[rows] + columns.foreign[rows]) / columns.max_parallel[rows],
        Order.PRICE: lambda: columns.price[rows],
        Order.TRUST: lambda: trust,
        Order.TEMPERATURE: lambda: columns.temp_c[rows],
        Order.LAST_SEEN: lambda: np.where(np.isfinite(columns.last_seen[rows]), columns.last_seen[rows], np.nan),
    }
    return keys[order]() if order in keys else None


def _ranks(registry: Registry, rows: Rows) -> NDArray[np.int64]:
    ranks = np.zeros(len(rows), np.int64)
    for number, state in enumerate(State):
        ranks[bitmaps.test_rows(listing.in_state(registry, state), rows)] = number
    return ranks
