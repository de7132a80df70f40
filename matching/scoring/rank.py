"""The best K of the eligible: score descending, then price ascending, then miner_id ascending (contract, section 4)."""

import numpy as np

from matching.scoring.scorers import ROUGH_ERROR, RoughScore, Scored, Terms, exact, rough
from matching.scoring.types import Query
from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words
from miners.registry.store import Registry

FEW = 1024  # so many rows are scored exactly at once
SPARSE_SHARE = 20  # with fewer eligible than one in so many, rows are gathered instead of blocks scanned
BLOCK = 32_768  # rows scored at a time, so that the arrays at hand stay in the cache
SAMPLE_WORDS = 64  # the K-th best of any sample bounds the K-th best of all from below


def top_k(registry: Registry, query: Query, terms: Terms, eligible: Words, count: int, now: float) -> Scored:
    """The best query.top_k of the eligible, best first."""
    if count <= FEW:
        rows = bitmaps.to_rows(eligible)
    elif count * SPARSE_SHARE < registry.size:
        rows = _gathered(registry, query, terms, eligible)
    else:
        rows = _scanned(registry, query, terms, eligible)
    return best(registry, exact(registry, query, terms, rows, now), query.top_k)


def best(registry: Registry, scored: Scored, k: int) -> Scored:
    """The first k in the contract's order. Ties of thousands are cut by partitions: a full sort costs far more."""
    chosen = np.arange(len(scored.rows))
    keys = (-scored.score, registry.columns.price[scored.rows], registry.columns.id_order[scored.rows])
    sure = np.empty(0, np.intp)
    for key in keys:
        if len(chosen) <= 4 * k:
            break
        values, missing = key[chosen], k - len(sure)
        limit = np.partition(values, missing - 1)[missing - 1]
        sure = np.concatenate([sure, chosen[values < limit]])
        chosen = chosen[values == limit]
        if len(sure) == k:
            break
    chosen = np.concatenate([sure, chosen])
    order = chosen[np.lexsort([key[chosen] for key in reversed(keys)])][:k]
    return Scored(scored.rows[order], scored.parts[:, order], scored.score[order], scored.degraded[order])


def position(registry: Registry, query: Query, terms: Terms, eligible: Words, slot: int, now: float) -> int:
    """The rank, from 1, of one of the eligible."""
    scored = exact(registry, query, terms, bitmaps.to_rows(eligible), now)
    order = np.lexsort((registry.columns.id_order[scored.rows], registry.columns.price[scored.rows], -scored.score))
    return int(np.flatnonzero(scored.rows[order] == slot)[0]) + 1


def _gathered(registry: Registry, query: Query, terms: Terms, eligible: Words) -> Rows:
    rows = bitmaps.to_rows(eligible)
    scores = rough(registry, query, terms)(rows, len(rows))
    limit = np.partition(scores, len(scores) - query.top_k)[len(scores) - query.top_k] - ROUGH_ERROR
    reached: Rows = rows[scores >= limit]
    return reached


def _scanned(registry: Registry, query: Query, terms: Terms, eligible: Words) -> Rows:
    """Block after block, keeping what reaches a lower bound of the K-th best score, which rises on the way."""
    score = rough(registry, query, terms)
    limit = _lower_bound(score, query.top_k, eligible)
    kept: list[Rows] = []
    size = len(eligible) << 6
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        hits = score(slice(start, stop), stop - start) >= limit
        hits &= bitmaps.to_mask(eligible[start >> 6 : stop >> 6])
        kept.append(np.flatnonzero(hits) + start)
    rows = np.concatenate(kept)
    scores = score(rows, len(rows))
    limit = np.partition(scores, len(scores) - query.top_k)[len(scores) - query.top_k] - ROUGH_ERROR
    reached: Rows = rows[scores >= limit]
    return reached


def _lower_bound(score: RoughScore, k: int, eligible: Words) -> np.float32:
    words = SAMPLE_WORDS
    while True:
        sample = bitmaps.to_rows(eligible[:words])
        if len(sample) >= 16 * k or words >= len(eligible):
            break
        words *= 4
    if len(sample) < k:
        return np.float32(-np.inf)
    scores = score(sample, len(sample))
    return np.float32(np.partition(scores, len(scores) - k)[len(scores) - k] - ROUGH_ERROR)
