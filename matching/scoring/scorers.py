"""The five components of a score, each in [0, 1], higher is better, and their weighted mean (contract, section 4).

`rough` is the single-precision pass over many rows that finds who may be among the best; `exact` finishes the few in
double precision, rounded to the contract's 6 places. The two differ by less than ROUGH_ERROR.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from matching.scoring.filters import Selector, price_units
from matching.scoring.types import Query
from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.columns import MERIT_WEIGHTS, ROUGH
from miners.registry.prices import UNITS
from miners.registry.store import Registry
from miners.registry.terms import Kind

F8: TypeAlias = NDArray[np.float64]
F4: TypeAlias = NDArray[np.float32]
RoughScore: TypeAlias = Callable[[Selector], F4]

PLACES = 6
ROUGH_ERROR = 4e-6  # rounding of five single-precision terms, trust's staleness, and one unit of the sixth place
PRICE, MERIT = ROUGH.index("f_price"), ROUGH.index("f_merit")
FIRST_WORDS = 128  # some miners to begin with: they give the others something to reach


@dataclass(frozen=True, slots=True)
class Terms:
    """What the scorers of one match share: worked out once, from the query and who is eligible."""

    ceiling: int  # highest price that scores, in registry units: max_price or the dearest of the eligible
    ceiling_price: float  # the same in tokens, as it was asked
    asked: tuple[Words, ...]  # one bitmap a distinct capability asked for
    unsure: tuple[Words, ...]  # those of them that one of the eligible may lack
    near: F8 | None  # with spillover: nearness of each region to the asked one, by term code


def terms_of(registry: Registry, query: Query, eligible: Words) -> Terms:
    words = len(eligible)
    names = dict.fromkeys((*query.capabilities_any, *query.capabilities_all))
    asked = tuple(registry.terms.words(Kind.CAPABILITY, name, words) for name in names)
    sure = set(query.capabilities_all).union(query.capabilities_any if len(set(query.capabilities_any)) == 1 else ())
    unsure = tuple(held for name, held in zip(names, asked, strict=True) if name not in sure)
    near = None
    if query.spillover and query.region is not None:
        near = registry.roundtrips.nearness(query.region, registry.terms)
    if query.max_price is not None:
        # prices are whole units: a cap below one unit scores like one of a unit, and never overflows
        cap = max(float(query.max_price), 1 / UNITS) if query.max_price else 0.0
        return Terms(price_units(query.max_price), cap, asked, unsure, near)
    ceiling = _dearest(registry, eligible)
    return Terms(ceiling, ceiling / UNITS, asked, unsure, near)


def score_cap(registry: Registry, terms: Terms, rows: Rows) -> F8:
    """|asked ∩ has| / |asked|; 1 when nothing was asked."""
    if not terms.asked:
        return np.ones(len(rows))
    has = np.zeros(len(rows))
    for words in terms.asked:
        has += bitmaps.test_rows(words, rows)
    return has / len(terms.asked)


def score_price(registry: Registry, terms: Terms, rows: Rows) -> F8:
    """clip(1 - p / c, 0, 1), p the effective price, never negative, c the ceiling; c = 0 gives 1."""
    if terms.ceiling_price == 0:
        return np.ones(len(rows))
    return np.maximum(1 - registry.columns.price[rows] / UNITS / terms.ceiling_price, 0)


def score_latency(registry: Registry, terms: Terms, rows: Rows) -> F8:
    """1 - r/n within the miner's region, 0.5 unknown; with spillover scaled by max(0, 1 - rtt / 300 ms)."""
    score: F8 = registry.columns.latency_score[rows]
    if terms.near is not None:
        score = score * terms.near.take(registry.columns.region[rows])
    return score


def score_trust(registry: Registry, now: float, rows: Rows) -> F8:
    """(2 + s) / (4 + s + f), both counts faded up to now (contract, section 5)."""
    return registry.trust.exact(rows, now)


def score_load(room: NDArray[np.int64]) -> F8:
    """f / (f + 1), f = max_parallel - occupied; 0 for a miner that is full."""
    free = np.maximum(room, 0)
    result: F8 = free / (free + 1)
    return result


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows with their components (shape (5, n), in the order of Weights) and scores in whole 1e-6."""

    rows: Rows
    parts: F8
    score: NDArray[np.int64]
    degraded: NDArray[np.bool_]
    room: NDArray[np.int64]  # max_parallel - occupied


def exact(registry: Registry, query: Query, terms: Terms, rows: Rows, now: float) -> Scored:
    w, columns = query.weights, registry.columns
    room = columns.max_parallel.take(rows).astype(np.int64) - columns.own.take(rows) - columns.foreign.take(rows)
    parts = np.empty((5, len(rows)))
    parts[0] = score_cap(registry, terms, rows)
    parts[1] = score_price(registry, terms, rows)
    parts[2] = score_latency(registry, terms, rows)
    parts[3] = score_trust(registry, now, rows)
    parts[4] = score_load(room)
    weighted = parts[0] * w.cap + parts[1] * w.price + parts[2] * w.latency + parts[3] * w.trust + parts[4] * w.load
    mean = weighted / (w.cap + w.price + w.latency + w.trust + w.load)
    state = columns.f_state.take(rows)
    return Scored(rows, parts, np.rint(mean * state * 10**PLACES).astype(np.int64), state < 1, room)


def rough(registry: Registry, query: Query, terms: Terms) -> RoughScore:
    """A function that scores rows (an index array, or a slice of whole words) within ROUGH_ERROR."""
    w, columns = query.weights, registry.columns
    total = w.cap + w.price + w.latency + w.trust + w.load
    per_token = w.price / terms.ceiling_price if terms.ceiling_price else 0.0
    least, most = _merit_range(query)
    if most - least < 1e-9 * most:  # the default proportions: one column stands for three
        used, weights = columns.rough[PRICE : MERIT + 1], [-per_token, most]
    else:
        used, weights = columns.rough[: PRICE + 1], [w.latency, w.trust, w.load, -per_token]
    factors = np.array(weights, np.float32) / np.float32(total)
    sure = 1 - len(terms.unsure) / len(terms.asked) if terms.asked else 1.0
    base = np.float32((sure * w.cap + w.price) / total)
    cap = np.float32(w.cap / total / max(1, len(terms.asked)))
    # by the miners of other regions, of their latency's weight
    lost = None if terms.near is None else ((1 - terms.near) * (w.latency / total)).astype(np.float32)

    def score(sel: Selector) -> F4:
        result: F4 = np.einsum("c,cn->n", factors, used[:, sel] if isinstance(sel, slice) else used.take(sel, axis=1))
        result += base
        if terms.unsure and w.cap:
            held = np.zeros(len(result), np.min_scalar_type(len(terms.unsure)))
            for words in terms.unsure:
                held += _bits(words, sel)
            result += held * cap
        if lost is not None:
            # clipped: an empty slot has no region
            result -= columns.f_latency[sel] * lost.take(columns.region[sel], mode="clip")
        result *= columns.f_state[sel]
        return result

    return score


def least_merit(query: Query, score: float) -> float:
    """The merit below which nobody reaches a score, whatever its capabilities, price and state."""
    w = query.weights
    _, most = _merit_range(query)
    missing = (score - ROUGH_ERROR) * (w.cap + w.price + w.latency + w.trust + w.load) - w.cap - w.price
    return missing / most if most else 0.0


def _merit_range(query: Query) -> tuple[float, float]:
    """What a unit of merit is worth to a query, at least and at most, in units of its weights."""
    w = query.weights
    worth = (w.latency / MERIT_WEIGHTS[0], w.trust / MERIT_WEIGHTS[1], w.load / MERIT_WEIGHTS[2])
    return min(worth), max(worth)


def _bits(words: Words, sel: Selector) -> NDArray[np.uint8]:
    """1 for each selected row that is in the set; a slice is a block of whole words."""
    if isinstance(sel, slice):
        return bitmaps.to_mask(words[sel.start >> 6 : sel.stop >> 6]).view(np.uint8)
    return bitmaps.test_rows(words, sel).view(np.uint8)


def _dearest(registry: Registry, eligible: Words) -> int:
    """The highest effective price among the eligible, 0 where there are none."""
    columns = registry.columns
    rough_prices = columns.f_price[: len(eligible) << 6]  # rounding keeps the order: the dearest is among the highest
    some = bitmaps.to_rows(eligible[:FIRST_WORDS])
    reached = bitmaps.from_mask(rough_prices >= rough_prices[some].max(initial=0))
    return int(columns.price[bitmaps.to_rows(eligible & reached)].max(initial=0))
