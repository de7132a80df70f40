"""Range-coded bitmaps of one numeric column: for a boundary b, the set of miners whose value is >= b.

The first distinct values seen become boundaries, at most MAX_BOUNDARIES of them, so that memory stays bounded whatever
miners claim. A question that falls between two boundaries tests the few miners between them by their exact value.
"""

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words

MAX_BOUNDARIES = 64


class RangeIndex:
    def __init__(self, words: int) -> None:
        self._words = words
        self._bounds: list[float] = []  # ascending
        self._sets: list[Words] = []

    def grow(self, words: int) -> None:
        self._words = words
        self._sets = [bitmaps.grown(each, words) for each in self._sets]

    def put(self, slot: int, value: float, values: NDArray[Any], present: Words) -> None:
        """Index a slot's value, for a slot that is not indexed now.

        values is the column and present the slots in use: a new boundary is filled from them.
        """
        at = bisect_left(self._bounds, value)
        if (at == len(self._bounds) or self._bounds[at] != value) and len(self._bounds) < MAX_BOUNDARIES:
            self._bounds.insert(at, value)
            self._sets.insert(at, self._members(value, values, present))
        for bound, members in zip(self._bounds, self._sets, strict=True):
            if bound > value:
                break
            bitmaps.set_bit(members, slot)

    def put_rows(self, slots: Rows, slot_values: NDArray[Any], values: NDArray[Any], present: Words) -> None:
        """As put(), for many slots, whose values are in the column already."""
        distinct, first = np.unique(slot_values, return_index=True)
        for value in distinct[np.argsort(first)].tolist():
            at = bisect_left(self._bounds, value)
            if at == len(self._bounds) or self._bounds[at] != value:
                if len(self._bounds) == MAX_BOUNDARIES:
                    break
                self._bounds.insert(at, value)
                self._sets.insert(at, self._members(value, values, present))
        for bound, members in zip(self._bounds, self._sets, strict=True):
            np.bitwise_or(members, bitmaps.from_rows(slots[slot_values >= bound], len(members)), out=members)

    def drop(self, slot: int) -> None:
        for members in self._sets:
            bitmaps.clear_bit(members, slot)

    def at_least(self, value: float, values: NDArray[Any], present: Words) -> Words:
        """The miners whose value is >= the asked one, exact among present; not to be written to."""
        words = len(present)
        at = bisect_left(self._bounds, value)
        if at < len(self._bounds) and self._bounds[at] == value:
            return self._sets[at][:words]
        above = self._sets[at][:words] if at < len(self._sets) else np.zeros(words, np.uint64)
        below = self._sets[at - 1][:words] if at else present
        between = bitmaps.to_rows(below & ~above)
        if not len(between):
            return above
        return above | bitmaps.from_rows(between[values[between] >= value], words)

    def _members(self, value: float, values: NDArray[Any], present: Words) -> Words:
        mask = np.zeros(self._words << 6, np.bool_)
        mask[: len(values)] = values >= value
        return bitmaps.from_mask(mask) & present[: self._words]

    def nbytes(self) -> int:
        return sum(each.nbytes for each in self._sets)
