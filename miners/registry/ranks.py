"""Latency ranks within a region: 1 - r/n, r of the n known ones strictly faster (contract, section 4, latency)."""

import numpy as np

from miners.registry import bitmaps
from miners.registry.columns import Columns
from miners.registry.states import States
from miners.registry.terms import Kind, Terms

UNKNOWN = 0.5


class Ranks:
    """Exact, and at most max_age_s old: a region is ranked again no sooner than that after its last time."""

    def __init__(self, columns: Columns, states: States, terms: Terms, *, max_age_s: float) -> None:
        self._columns = columns
        self._states = states
        self._terms = terms
        self._max_age_s = max_age_s
        self._dirty: set[int] = set()
        self._ranked_at: dict[int, float] = {}

    def touch(self, region: int) -> None:
        self._dirty.add(region)

    def refresh(self, now: float, words: int) -> None:
        if not self._dirty:
            return
        due = [code for code in self._dirty if not 0 <= now - self._ranked_at.get(code, -1e18) < self._max_age_s]
        if not due:
            return
        among = self._states.live[:words] & ~self._states.disabled[:words]
        used = set(self._terms.codes(Kind.REGION))
        for code in due:
            self._dirty.discard(code)
            if code in used:
                self._rank(code, among)
                self._ranked_at[code] = now
            else:
                self._ranked_at.pop(code, None)

    def _rank(self, code: int, among: bitmaps.Words) -> None:
        columns = self._columns
        members = self._terms.words(Kind.REGION, self._terms.name(code), len(among))
        rows = bitmaps.to_rows(members & among)
        latency = columns.latency[rows]
        known = np.sort(latency[~np.isnan(latency)])
        score = np.full(len(rows), UNKNOWN)
        if len(known):
            faster = np.searchsorted(known, latency, side="left")
            score = np.where(np.isnan(latency), UNKNOWN, 1 - faster / len(known))
        columns.latency_score[rows] = score
        columns.f_latency[rows] = score
        columns.settle_merit(rows)
