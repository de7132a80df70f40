"""Latency ranks within a region: 1 - r/n, r of the n known ones strictly faster (contract, section 4, latency)."""

import numpy as np

from miners.registry import bitmaps
from miners.registry.columns import Columns
from miners.registry.states import States
from miners.registry.terms import Kind, Terms
from miners.registry.turns import Turns

UNKNOWN = 0.5


class Ranks:
    """Exact, and at most max_age_s old: a region is ranked again about that long after its last time."""

    def __init__(self, columns: Columns, states: States, terms: Terms, *, max_age_s: float) -> None:
        self._columns = columns
        self._states = states
        self._terms = terms
        self._dirty: set[int] = set()
        self._turns: Turns[int] = Turns(max_age_s)

    def touch(self, region: int) -> None:
        self._dirty.add(region)

    def refresh(self, now: float, words: int) -> None:
        due = self._turns.due(self._dirty, now)
        if not due:
            return
        among = self._states.live[:words] & ~self._states.disabled[:words]
        used = set(self._terms.codes(Kind.REGION))
        for code in due:
            self._dirty.discard(code)
            if code in used:
                self._rank(code, among)
            else:
                self._turns.forget(code)

    def _rank(self, code: int, among: bitmaps.Words) -> None:
        columns = self._columns
        members = self._terms.words(Kind.REGION, self._terms.name(code), len(among))
        rows = bitmaps.to_rows(members & among)
        latency = columns.latency[rows]
        order = np.argsort(latency)  # nan, unknown, comes last
        known = len(rows) - int(np.isnan(latency).sum())
        ascending = latency[order[:known]]
        begins = np.concatenate([[True], ascending[1:] != ascending[:-1]])[:known]  # a run of equals
        faster = np.maximum.accumulate(np.arange(known) * begins)
        score = np.full(len(rows), UNKNOWN)
        score[order[:known]] = 1 - faster / max(1, known)
        columns.latency_score[rows] = score
        columns.f_latency[rows] = score
        columns.settle_merit(rows)
