"""The order of miner ids by code point, as integer labels that a vectorised sort can use.

A new id gets a label between its neighbours' labels, so that nobody else's changes; when no room is left there, all
labels are dealt out anew.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0, 2**62
STEP = 2**24  # how far from the lower neighbour, where there is room: ids often come in ascending order


class IdOrder:
    def __init__(self) -> None:
        self._ids: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def add(self, miner_id: str, slots: dict[str, int], labels: NDArray[np.int64]) -> None:
        at = bisect_left(self._ids, miner_id)
        low = int(labels[slots[self._ids[at - 1]]]) if at else LOWEST
        high = int(labels[slots[self._ids[at]]]) if at < len(self._ids) else HIGHEST
        self._ids.insert(at, miner_id)
        if high - low < 2:
            self._deal(slots, labels)
        elif at == 0:
            labels[slots[miner_id]] = max(high - STEP, (low + high) // 2)
        else:
            labels[slots[miner_id]] = low + min(STEP, (high - low) // 2)

    def add_all(self, miner_ids: Iterable[str], slots: dict[str, int], labels: NDArray[np.int64]) -> None:
        self._ids.extend(miner_ids)
        self._ids.sort()
        self._deal(slots, labels)

    def remove(self, miner_id: str) -> None:
        del self._ids[bisect_left(self._ids, miner_id)]

    def first_after(self, cursor: str) -> str | None:
        at = bisect_right(self._ids, cursor)
        return self._ids[at] if at < len(self._ids) else None

    def _deal(self, slots: dict[str, int], labels: NDArray[np.int64]) -> None:
        order = np.fromiter((slots[each] for each in self._ids), np.intp, len(self._ids))
        gap = max(1, (HIGHEST - LOWEST) // (len(order) + 1))
        labels[order] = LOWEST + gap * np.arange(1, len(order) + 1, dtype=np.int64)
