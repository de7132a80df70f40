"""What surveys say about each miner, added up by slot. Pure NumPy, owned by one thread.

A survey stands for `weight` matches, its own included. Sums are single-precision whole numbers, exact up to 2^24 an
hour. Of ranks and prices each miner keeps KEPT, a weighted random sample of its own: all of them as long as there are
no more. About 170 bytes a miner.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matching.scoring.filters import CONSTRAINTS
from matching.standing.survey import ABSENT, CODES, Survey
from miners.registry.bitmaps import Rows

KEPT = 8
SUMS = ("offered", "first", "eligible", "percentile", "lost", "surveys")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of some miners, in one order in all arrays."""

    pk: NDArray[np.int64]
    sums: Mapping[str, NDArray[np.float32]]  # by SUMS
    rejected: Mapping[str, NDArray[np.float32]]  # by constraint
    ranks: NDArray[np.int32]  # (n, KEPT), 0 = none
    prices: NDArray[np.int64]  # (n, KEPT), registry units, 0 = none


class Tally:
    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._room(0)

    def _room(self, slots: int) -> None:
        self.pk = np.zeros(slots, np.int64)
        self.sums = {name: np.zeros(slots, np.float32) for name in SUMS}
        self.rejected: dict[str, NDArray[np.float32]] = {}
        self.ranks = np.zeros((slots, KEPT), np.int32)
        self.prices = np.zeros((slots, KEPT), np.int64)

    def add(self, found: Survey, weight: int) -> None:
        self._follow(found.pk)
        size = len(found.pk)
        self.sums["surveys"][:size] += found.verdict != ABSENT
        for name, code in CODES.items():
            rejected = np.flatnonzero(found.verdict == code)
            if len(rejected):
                self._column(name)[rejected] += weight
        count = len(found.eligible)
        ranks = np.arange(1, count + 1, dtype=np.int32)
        beaten = (count - ranks) / max(1, count - 1) * 100 if count > 1 else np.full(count, 100.0)
        self.sums["percentile"][found.eligible] += weight * beaten.astype(np.float32)
        self._keep(self.ranks, self.sums["eligible"], found.eligible, ranks, weight)
        self._keep(self.prices, self.sums["lost"], found.lost, found.winning, weight)

    def add_offered(self, slots: Mapping[int, tuple[int, int, int]]) -> None:
        """By slot: the miner's key, how often it was offered, and how often first."""
        if not slots:
            return
        pk = np.zeros(max(len(self.pk), max(slots) + 1), np.int64)
        pk[: len(self.pk)] = self.pk
        for slot, (key, _, _) in slots.items():
            pk[slot] = key
        self._follow(pk)
        for slot, (_, offered, first) in slots.items():
            self.sums["offered"][slot] += offered
            self.sums["first"][slot] += first

    def parts(self, shards: int) -> Iterator[tuple[int, Part]]:
        """The miners with something to say, by their key modulo shards."""
        heard = np.flatnonzero((self.sums["surveys"] > 0) | (self.sums["offered"] > 0))
        shard = self.pk[heard] % shards
        order = np.argsort(shard, kind="stable")
        bounds = np.searchsorted(shard[order], np.arange(shards + 1))
        for number in range(shards):
            rows = heard[order[bounds[number] : bounds[number + 1]]]
            if len(rows):
                yield number, self._part(rows)

    def _part(self, rows: Rows) -> Part:
        return Part(
            self.pk[rows],
            {name: column[rows] for name, column in self.sums.items()},
            {name: self.rejected[name][rows] for name in CONSTRAINTS if name in self.rejected},
            self.ranks[rows],
            self.prices[rows],
        )

    def _follow(self, pk: NDArray[np.int64]) -> None:
        """Have room for these slots, and forget miners whose slot is another's now."""
        missing = len(pk) - len(self.pk)
        if missing > 0:
            for name, column in self.sums.items():
                self.sums[name] = np.pad(column, (0, missing))
            for name, column in self.rejected.items():
                self.rejected[name] = np.pad(column, (0, missing))
            self.ranks = np.pad(self.ranks, ((0, missing), (0, 0)))
            self.prices = np.pad(self.prices, ((0, missing), (0, 0)))
            self.pk = np.pad(self.pk, (0, missing))
        others = np.flatnonzero(self.pk[: len(pk)] != pk)
        for column in (*self.sums.values(), *self.rejected.values()):
            column[others] = 0
        self.ranks[others] = 0
        self.prices[others] = 0
        self.pk[others] = pk[others]

    def _column(self, name: str) -> NDArray[np.float32]:
        if name not in self.rejected:
            self.rejected[name] = np.zeros(len(self.pk), np.float32)
        return self.rejected[name]

    def _keep(
        self, kept: NDArray[np.int32] | NDArray[np.int64], weights: NDArray[np.float32], slots: Rows,
        values: NDArray[np.int32] | NDArray[np.int64], weight: int,
    ) -> None:  # fmt: skip
        """Chao's weighted reservoir: the next value takes a random place with probability KEPT x its share."""
        weights[slots] += weight
        held = (kept[slots] > 0).sum(axis=1)
        full = held == KEPT
        chance = self._random.random(len(slots), np.float32)
        taken = ~full | (chance < KEPT * weight / weights[slots])
        places = np.where(full, self._random.integers(0, KEPT, len(slots)), held)
        kept[slots[taken], places[taken]] = values[taken]
