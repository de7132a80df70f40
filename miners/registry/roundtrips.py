"""Round-trip times between regions, and how near that makes a miner to the region that is asked for (contract, 7)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from miners.registry.terms import Kind, Terms

UNKNOWN_MS = 150.0  # between regions that the table does not have
SCALE_MS = 300.0
MAX_KEPT = 256  # regions whose nearness is kept at hand

Pair = tuple[str, str]


def covers(asked: str, region: str) -> bool:
    """Whether the asked region takes another: the same, or a prefix of it up to a "-" (contract, section 4)."""
    return region == asked or region.startswith(asked + "-")


class RoundTrips:
    """A pair holds in both directions, and for the regions within its two, unless a narrower pair is there."""

    def __init__(self) -> None:
        self._ms: dict[Pair, float] = {}
        self._named: set[str] = set()  # in the table
        self._nearness: dict[str, NDArray[np.float64]] = {}  # by asked region, for the vocabulary of `_words`
        self._words = -1

    def __len__(self) -> int:
        return len(self._ms)

    def replace(self, ms: Mapping[Pair, float]) -> None:
        """The whole table, each pair once."""
        self._ms = {pair_of(a, b): value for (a, b), value in ms.items()}
        self._named = {name for pair in self._ms for name in pair}
        self._nearness.clear()

    def between(self, asked: str, region: str) -> float:
        """ms; 0 within the asked region, UNKNOWN_MS where nobody knows."""
        if covers(asked, region):
            return 0.0
        pairs = [(i + j, a, b) for i, a in self._around(asked) for j, b in self._around(region) if a != b]
        for _, a, b in sorted(pairs):  # the narrowest first
            found = self._ms.get(pair_of(a, b))
            if found is not None:
                return found
        return UNKNOWN_MS

    def nearness(self, asked: str, terms: Terms) -> NDArray[np.float64]:
        """max(0, 1 - rtt / 300 ms) of every region, by its term code. Not to be written to."""
        if terms.regions_version != self._words or len(self._nearness) >= MAX_KEPT:
            self._nearness.clear()
            self._words = terms.regions_version
        found = self._nearness.get(asked)
        if found is None:
            regions = terms.codes(Kind.REGION)
            found = self._nearness[asked] = np.zeros(max(regions, default=0) + 1)
            for code, region in regions.items():
                found[code] = max(0.0, 1 - self.between(asked, region) / SCALE_MS)
        return found

    def _around(self, region: str) -> list[tuple[int, str]]:
        """The region and those that it lies in, as far as the table names them, by the number of parts left off."""
        parts = region.split("-")
        around = [(n, "-".join(parts[: len(parts) - n])) for n in range(len(parts))]
        return [(n, name) for n, name in around if name in self._named]


def pair_of(a: str, b: str) -> Pair:
    """The form in which a pair is kept: a pair holds in both directions."""
    return (a, b) if a <= b else (b, a)
