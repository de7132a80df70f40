"""One miner's standing, added up from what several processes have told of several hours. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from matching.scoring.filters import CONSTRAINTS
from matching.standing.tally import SUMS, Part


@dataclass(slots=True)
class Added:
    sums: Counter[str] = field(default_factory=Counter)  # by SUMS
    rejected: Counter[str] = field(default_factory=Counter)
    ranks: list[tuple[int, float]] = field(default_factory=list)  # with the matches that each stands for
    prices: list[tuple[int, float]] = field(default_factory=list)


def added(parts: Iterable[Part], pk: int) -> Added:
    """Everything that the parts say about the miner with this key."""
    total = Added()
    for part in parts:
        for row in np.flatnonzero(part.pk == pk).tolist():
            sums = {name: float(part.sums[name][row]) for name in SUMS}
            total.sums.update(sums)
            total.rejected.update(
                {name: float(part.rejected[name][row]) for name in CONSTRAINTS if name in part.rejected}
            )
            total.ranks += _weighted(part.ranks[row], sums["eligible"])
            total.prices += _weighted(part.prices[row], sums["lost"])
    return total


def lower_median(values: Iterable[tuple[int, float]]) -> int | None:
    """The least value that at least half of the weight does not exceed; None without any."""
    ordered = sorted(values)
    half, reached = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= half - 1e-9:
            return value
    return None


def upper_median(values: Iterable[tuple[int, float]]) -> int | None:
    """The greatest value that at least half of the weight reaches; None without any."""
    found = lower_median([(-value, weight) for value, weight in values])
    return None if found is None else -found


def _weighted(kept: NDArray[np.integer], weight: float) -> list[tuple[int, float]]:
    values = kept[kept > 0].tolist()
    return [(value, weight / len(values)) for value in values]
