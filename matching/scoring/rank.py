"""The best K of the eligible: score descending, then price ascending, then miner_id ascending (contract, section 4)."""

import math
from itertools import pairwise

import numpy as np

from matching.scoring.scorers import F4, FIRST_WORDS, ROUGH_ERROR, Scored, Terms, exact, least_merit, rough
from matching.scoring.types import Query
from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.store import Registry

FEW = 256  # so many rows are scored exactly at once, and sorted as they are
AT_ONCE_WORDS = 256  # 64 rows each: up to here one pass over all of them costs less than to pass any over
BLOCK_WORDS = 2048  # looked at together, so that the arrays at hand stay in the cache
SAMPLE_ROWS = 1024  # the K-th best of a few tells what the best have to reach
SPARSE_SHARE = 20  # with fewer rows left in a block than one in so many, they are gathered instead of all scored


def top_k(registry: Registry, query: Query, terms: Terms, eligible: Words, count: int, now: float) -> Scored:
    """The best query.top_k of the eligible, best first."""
    few = count <= FEW
    rows = bitmaps.to_rows(eligible) if few else _contenders(registry, query, terms, eligible, count)
    return best(registry, exact(registry, query, terms, rows, now), query.top_k)


def best(registry: Registry, scored: Scored, k: int) -> Scored:
    """The first k in the contract's order. Ties of thousands are cut by partitions: a full sort costs far more."""
    chosen = np.arange(len(scored.rows))
    keys = (-scored.score, registry.columns.price[scored.rows], registry.columns.id_order[scored.rows])
    sure = np.empty(0, np.intp)
    for key in keys:
        if len(chosen) <= max(4 * k, FEW):
            break
        values, missing = key[chosen], k - len(sure)
        limit = np.partition(values, missing - 1)[missing - 1]
        sure = np.concatenate([sure, chosen[values < limit]])
        chosen = chosen[values == limit]
        if len(sure) == k:
            break
    chosen = np.concatenate([sure, chosen])
    order = chosen[np.lexsort([key[chosen] for key in reversed(keys)])][:k]
    return Scored(
        scored.rows[order], scored.parts[:, order], scored.score[order], scored.degraded[order], scored.room[order]
    )


def position(registry: Registry, query: Query, terms: Terms, eligible: Words, slot: int, now: float) -> int:
    """The rank, from 1, of one of the eligible."""
    scored = exact(registry, query, terms, bitmaps.to_rows(eligible), now)
    order = np.lexsort((registry.columns.id_order[scored.rows], registry.columns.price[scored.rows], -scored.score))
    return int(np.flatnonzero(scored.rows[order] == slot)[0]) + 1


def _contenders(registry: Registry, query: Query, terms: Terms, eligible: Words, count: int) -> Rows:
    """Who may be among the best K: block after block, those that reach the K-th best score so far.

    From the second block on, most are passed over by one look at their merit: they could not reach it.
    """
    score, merit, k = rough(registry, query, terms), registry.columns.f_merit, query.top_k
    reached = -math.inf
    found: list[tuple[Rows, F4]] = []
    sparse = count * SPARSE_SHARE < len(eligible) << 6
    at_once = sparse or len(eligible) <= AT_ONCE_WORDS
    bounds = [] if at_once else range(FIRST_WORDS, len(eligible), BLOCK_WORDS)
    for start, stop in pairwise([0, *bounds, len(eligible)]):
        words, block = eligible[start:stop], slice(start << 6, stop << 6)
        few = sparse
        if start:
            words = words & bitmaps.from_mask(merit[block] >= least_merit(query, reached - ROUGH_ERROR))
            few = bitmaps.count(words) * SPARSE_SHARE < len(words) << 6
        if few:
            rows = bitmaps.to_rows(words) + block.start
            scores = score(rows)
        else:
            mask, scores = bitmaps.to_mask(words), score(block)
            if not start:
                reached = _kth(scores[:SAMPLE_ROWS][mask[:SAMPLE_ROWS]], k)
            rows = np.flatnonzero((scores >= reached - ROUGH_ERROR) & mask)
            scores, rows = scores[rows], rows + block.start
        found.append((rows, scores))
        reached = max(reached, _kth(scores, k))
    return np.concatenate([rows[scores >= reached - ROUGH_ERROR] for rows, scores in found])


def _kth(scores: F4, k: int) -> float:
    """The k-th highest; -inf where there are fewer."""
    at = len(scores) - k
    return float(np.partition(scores, at)[at]) if at >= 0 else -math.inf
