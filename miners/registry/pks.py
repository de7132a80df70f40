"""Slots by the miners' primary keys: one array, since a database gives its keys out in order."""

import numpy as np
from numpy.typing import NDArray

NONE = -1
MAX_PK = 2**28  # registrations ever; the array would take a gigabyte then


class Pks:
    def __init__(self) -> None:
        self._slots = np.full(1024, NONE, np.int32)

    def put(self, pk: int, slot: int) -> None:
        """0 is no key. ValueError for one that no database can have come to."""
        if not pk:
            return
        self._reach(pk)
        self._slots[pk] = slot

    def put_rows(self, pks: NDArray[np.int64], slots: NDArray[np.intp]) -> None:
        if pks.min(initial=0) < 0:
            raise ValueError("a primary key is negative")
        self._reach(int(pks.max(initial=0)))
        self._slots[pks] = slots
        self._slots[0] = NONE

    def drop(self, pk: int) -> None:
        if pk:
            self._slots[pk] = NONE

    def slots_of(self, pks: NDArray[np.uint64]) -> NDArray[np.intp]:
        """NONE for one that is unknown."""
        inside = pks < len(self._slots)
        slots: NDArray[np.intp] = self._slots[np.where(inside, pks, 0).astype(np.intp)].astype(np.intp)
        slots[~inside] = NONE
        return slots

    def _reach(self, pk: int) -> None:
        if pk > MAX_PK:
            raise ValueError(f"a primary key is over {MAX_PK}")
        if pk >= len(self._slots):
            grown = np.full(max(pk + 1, 2 * len(self._slots)), NONE, np.int32)
            grown[: len(self._slots)] = self._slots
            self._slots = grown

    @property
    def nbytes(self) -> int:
        return self._slots.nbytes
