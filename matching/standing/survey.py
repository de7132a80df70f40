"""One match looked at from every miner's side at once: where each was rejected, its rank, and what its price cost it.

A match itself finds the best few; this ranks all, at up to a hundred times the cost. So it is done for a sample of
matches, behind the answers. Pure.
"""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from matching.scoring import filtering, filters, scorers
from matching.scoring.filters import CONSTRAINTS, price_units
from matching.scoring.scorers import PLACES, Scored, Terms
from matching.scoring.types import Query
from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.prices import UNITS
from miners.registry.store import Registry

I8: TypeAlias = NDArray[np.int64]

ELIGIBLE, ABSENT = 254, 255
NO_PRICE, ANY_PRICE = -1, 2**62
CODES = {name: code for code, name in enumerate(CONSTRAINTS)}
ROUNDED_UP = 0.4999  # so much below a score is rounded to it, whatever the last bits are
SURE = 1e-12  # of the ceiling: so much lower than computed, a price wins whatever rounding did


@dataclass(frozen=True, slots=True)
class Survey:
    """By slot, as of one match."""

    pk: I8  # of the miner that had the slot
    verdict: NDArray[np.uint8]  # code of the first constraint failed, ELIGIBLE, or ABSENT
    eligible: Rows  # slots, best first
    lost: Rows  # slots that would have been first at a lower price
    # of lost: the highest such price, registry units, >= 1; all else as it was, the score's ceiling included
    winning: I8


@dataclass(frozen=True, slots=True)
class Seen:
    """What is read off the registry under its lock: the eligible, then those that only their price kept out."""

    pk: I8
    verdict: NDArray[np.uint8]
    eligible: int  # so many of scored, the first ones
    scored: Scored
    price: I8  # of scored, registry units
    id_order: I8
    allowed: I8  # of scored: the highest price that the match takes


def look(registry: Registry, query: Query, now: float) -> tuple[Seen, Terms]:
    """The caller holds the registry's lock, for about as long as it takes to score whoever is eligible."""
    registry.refresh(now)
    words = registry.states.present[: bitmaps.words_for(registry.size)]
    verdict = np.full(len(words) << 6, ABSENT, np.uint8)
    for each in filters.active(query):
        left = each.keep(registry, query, words, bitmaps.count(words), now)
        verdict[bitmaps.to_rows(words & ~left)] = CODES[each.name]
        words = left
    eligible = bitmaps.to_rows(words)
    verdict[eligible] = ELIGIBLE
    terms = scorers.terms_of(registry, query, words)
    rows = np.concatenate([eligible, _priced_out(registry, query, words, now)])
    columns = registry.columns
    seen = Seen(
        columns.pk[: len(verdict)].copy(),
        verdict,
        len(eligible),
        scorers.exact(registry, query, terms, rows, now),
        columns.price[rows],
        columns.id_order[rows].astype(np.int64),
        _highest_allowed(registry, query, rows),
    )
    return seen, terms


def judge(query: Query, terms: Terms, seen: Seen) -> Survey:
    rows, score, inside = seen.scored.rows, seen.scored.score, slice(0, seen.eligible)
    order = np.lexsort((seen.id_order[inside], seen.price[inside], -score[inside]))
    winning = seen.allowed
    if len(order):
        first = order[0]
        clearly = _reaching(query, terms, seen.scored, score[first] + 1)
        tied = _reaching(query, terms, seen.scored, score[first])
        tied = np.minimum(tied, seen.price[first] - (seen.id_order >= seen.id_order[first]))
        winning = np.minimum(winning, np.maximum(clearly, tied))
    winning = np.minimum(winning, seen.price - 1)
    lost = winning > 0
    lost[order[:1]] = False
    return Survey(seen.pk, seen.verdict, rows[order], rows[lost], winning[lost])


def _priced_out(registry: Registry, query: Query, eligible: Words, now: float) -> Rows:
    """Those that fail constraints on the price alone."""
    if query.max_price is None and query.max_price_vs_market is None:
        return np.empty(0, np.intp)
    free = msgspec.structs.replace(query, max_price=None, max_price_vs_market=None)
    return bitmaps.to_rows(filtering.apply(registry, free, now).words & ~eligible)


def _highest_allowed(registry: Registry, query: Query, rows: Rows) -> I8:
    highest = np.full(len(rows), np.iinfo(np.int64).max)
    if query.max_price is not None:
        highest = np.minimum(highest, price_units(query.max_price))
    if query.max_price_vs_market is not None:
        limits = registry.market.limits(query.max_price_vs_market)
        highest = np.minimum(highest, limits[registry.columns.market[rows]])
    return highest


def _reaching(query: Query, terms: Terms, scored: Scored, score: int) -> I8:
    """The highest price with which each reaches a score (whole 1e-6); NO_PRICE where it can't."""
    w = query.weights
    total = w.cap + w.price + w.latency + w.trust + w.load
    cap, _, latency, trust, load = scored.parts
    others = cap * w.cap + latency * w.latency + trust * w.trust + load * w.load
    wanted = (score - ROUNDED_UP) / 10**PLACES * total / np.where(scored.degraded, 0.5, 1.0) - others
    if not w.price or not terms.ceiling_price:
        given = w.price  # a price is worth all of its weight, whatever it is
        return np.where(wanted <= given, ANY_PRICE, NO_PRICE)
    part = wanted / w.price  # of the price, from 0 at the ceiling to 1 at nothing
    ceiling = terms.ceiling_price * UNITS
    units = np.floor(ceiling * (1 - np.clip(part, 0, 1)) - ceiling * SURE * total / w.price)
    return np.where(part <= 0, ANY_PRICE, np.where(part > 1, NO_PRICE, np.maximum(units, NO_PRICE))).astype(np.int64)
