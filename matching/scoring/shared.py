"""The matches of one batch: those that ask the same share what the load that the batch itself makes cannot change.

Guarantee: every answer is the one that `pipeline.match` would give, with the latency ranks as of the first. The caller
holds the registry's lock from the first match to the last, and changes nothing meanwhile but `own`, through
`Registry.add_own`.

For a set of requirements that is asked again, the constraints that do not depend on load are tried once, and the best
miners and SPARE more stay in order. Each time after, only the miners whose load has changed are scored anew.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from matching.scoring import explain, filtering, pipeline, rank, scorers
from matching.scoring.filtering import Filtered
from matching.scoring.types import Candidate, MatchResult, Query
from miners.registry import bitmaps
from miners.registry.store import Registry

SPARE = 64  # miners kept in order beyond those that are answered

Key = tuple[int, int, int]  # score, price, id: ascending is the contract's order


class Shared:
    def __init__(self, registry: Registry, queries: Iterable[Query], *, now: float) -> None:
        registry.refresh(now)
        self._registry = registry
        self._now = now
        self._moved: list[int] = []  # slots in the order in which their load changed
        times = Counter(queries)
        self._rankings: dict[Query, Ranking | None] = {
            query: None for query in times if times[query] > 1 and not query.full
        }

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the block, know of every change of load."""
        self._registry.moved = self._moved
        try:
            yield
        finally:
            self._registry.moved = None

    def match(self, query: Query) -> MatchResult:
        if query not in self._rankings:
            return pipeline.match_refreshed(self._registry, query, now=self._now)
        ranking = self._rankings[query]
        if ranking is None or not ranking.follow(self._moved):
            ranking = self._rankings[query] = Ranking(self._registry, query, seen=len(self._moved), now=self._now)
        return ranking.answer()


class Ranking:
    """The best miners for one query, kept in order while their load changes."""

    def __init__(self, registry: Registry, query: Query, *, seen: int, now: float) -> None:
        self._registry, self._query, self._now, self._seen = registry, query, now, seen
        self._unloaded = filtering.apply_unloaded(registry, query, now)
        self._filtered = filtering.apply_loaded(registry, query, self._unloaded, now)
        self._terms = scorers.terms_of(registry, query, self._filtered.words)
        self._order: list[tuple[Key, int]] = []
        self._known: dict[int, tuple[Key, Candidate]] = {}  # by slot
        self._last: Key | None = None  # who is behind it is not known
        if self._filtered.eligible:
            wanted = query.top_k + SPARE
            widened = msgspec.structs.replace(query, top_k=wanted)
            words, eligible = self._filtered.words, self._filtered.eligible
            self._add(rank.top_k(registry, widened, self._terms, words, eligible, now))
            if eligible > wanted:
                self._last = self._order[-1][0]

    def follow(self, moved: list[int]) -> bool:
        """Take in what has changed since; False where the order is not known any more."""
        slots = set(moved[self._seen :])
        self._seen = len(moved)
        before, self._filtered = self._filtered, self._filter()
        for slot in slots:
            self._drop(slot)
        eligible = [slot for slot in slots if bitmaps.has_bit(self._filtered.words, slot)]
        if not self._same_ceiling(before, slots):
            return False
        if eligible:
            rows = np.array(eligible)
            self._add(scorers.exact(self._registry, self._query, self._terms, rows, self._now))
        if self._last is None:
            return True
        enough = self._order[self._query.top_k - 1 : self._query.top_k]
        return bool(enough) and enough[0][0] <= self._last

    def answer(self) -> MatchResult:
        found = [self._known[slot][1] for _, slot in self._order[: self._query.top_k]]
        return explain.result(found, self._filtered)

    def _filter(self) -> Filtered:
        return filtering.apply_loaded(self._registry, self._query, self._unloaded, self._now)

    def _same_ceiling(self, before: Filtered, slots: set[int]) -> bool:
        """Whether the dearest of the eligible, which all are scored by, is surely the same."""
        if self._query.max_price is not None:
            return True
        for slot in slots:
            came_or_went = bitmaps.has_bit(before.words, slot) != bitmaps.has_bit(self._filtered.words, slot)
            if came_or_went and self._registry.columns.price[slot] >= self._terms.ceiling:
                return False
        return True

    def _add(self, scored: scorers.Scored) -> None:
        columns, rows = self._registry.columns, scored.rows
        keys = zip((-scored.score).tolist(), columns.price[rows].tolist(), columns.id_order[rows].tolist(), strict=True)
        for slot, key, candidate in zip(rows.tolist(), keys, explain.candidates(self._registry, scored), strict=True):
            self._known[slot] = key, candidate
            insort(self._order, (key, slot))

    def _drop(self, slot: int) -> None:
        known = self._known.pop(slot, None)
        if known is not None:
            self._order.remove((known[0], slot))
