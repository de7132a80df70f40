"""What the market pays for the GPU of each miner where it is, beside the columns. The caller holds the registry's lock.

Who knows the market hands over a function that finds the entry for a GPU's name and a region; what it finds is kept by
slot, as a number of an entry, so that a match compares a whole block of miners with their own medians at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from miners.registry.bitmaps import Rows
from miners.registry.columns import Columns

if TYPE_CHECKING:
    from miners.registry.store import Registry

NO_LIMIT = 2**63 - 1
MAX_RATIOS = 64  # of which the limits are kept
HEAD_BYTES = 12  # region, protocol and GPU name: see views.HEAD
FAR = 4  # so many times below or above the median is far off


class FarOff(StrEnum):
    LOW = "low"  # bait, or a mistake
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class MarketEntry:
    """A market price. region: the one that it is of, which may be wider than a miner's."""

    model: str
    region: str
    median: int  # units of 1e-8 tokens per 1,000 s
    quantiles: tuple[int, ...]  # prices observed, ascending: all of them, or about a hundred evenly chosen


@dataclass(frozen=True, slots=True)
class MarketPosition:
    """One miner's effective price against its market."""

    model: str
    region: str
    median: int  # units
    ratio: float | None  # price / median; None where the median is 0
    percentile: float  # 0 to 100: the share of the market that is not dearer
    far_off: FarOff | None


Find = Callable[[str, str], MarketEntry | None]


def nothing(gpu_name: str, region: str) -> MarketEntry | None:
    return None


class Market:
    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._find: Find = nothing
        self._entries: list[MarketEntry | None] = [None]  # by number; 0 = no market price
        self._numbers: dict[MarketEntry, int] = {}
        self._limits: OrderedDict[Decimal, NDArray[np.int64]] = OrderedDict()

    def put(self, slot: int, gpu_name: str, region: str) -> None:
        self._columns.market[slot] = self._number(gpu_name, region)

    def replace(self, registry: Registry, find: Find) -> None:
        """Take another market, for every miner."""
        self._find, self._entries, self._numbers = find, [None], {}
        self._limits.clear()
        present = np.flatnonzero(np.array([bool(each) for each in registry.codes], bool))
        self._columns.market[: registry.size] = 0
        self.put_rows(registry, present)

    def put_rows(self, registry: Registry, slots: Rows) -> None:
        """Of miners whose codes are there: one look-up for each GPU and region."""
        if not len(slots):
            return
        heads = b"".join(registry.codes[slot][:HEAD_BYTES] for slot in slots.tolist())
        codes = np.frombuffer(heads, np.uint32).reshape(-1, 3)[:, [0, 2]]
        places, which = np.unique(codes, axis=0, return_inverse=True)
        name = registry.terms.name
        numbers = [self._number(name(gpu), name(region)) for region, gpu in places.tolist()]
        self._columns.market[slots] = np.array(numbers, np.uint32)[which.reshape(-1)]

    def limits(self, ratio: Decimal) -> NDArray[np.int64]:
        """By entry: the highest price in units that is not above ratio times the median; without a market, any."""
        found = self._limits.get(ratio)
        if found is None:
            found = np.array([_limit(each, ratio) for each in self._entries], np.int64)
            self._limits[ratio] = found
            if len(self._limits) > MAX_RATIOS:
                self._limits.popitem(last=False)
        return found

    def medians(self) -> NDArray[np.int64]:
        """By entry, in units; -1 without a market."""
        return np.array([-1 if each is None else each.median for each in self._entries], np.int64)

    def position(self, slot: int) -> MarketPosition | None:
        entry = self._entries[int(self._columns.market[slot])]
        return None if entry is None else position_of(int(self._columns.price[slot]), entry)

    def _number(self, gpu_name: str, region: str) -> int:
        entry = self._find(gpu_name, region)
        if entry is None:
            return 0
        number = self._numbers.get(entry)
        if number is None:
            number = self._numbers[entry] = len(self._entries)
            self._entries.append(entry)
            self._limits.clear()
        return number


def position_of(price: int, entry: MarketEntry) -> MarketPosition:
    not_dearer = bisect_right(entry.quantiles, price) / max(1, len(entry.quantiles))
    far_off = FarOff.LOW if price * FAR < entry.median else FarOff.HIGH if price > entry.median * FAR else None
    ratio = round(price / entry.median, 6) if entry.median else None
    return MarketPosition(entry.model, entry.region, entry.median, ratio, round(100 * not_dearer, 2), far_off)


def _limit(entry: MarketEntry | None, ratio: Decimal) -> int:
    if entry is None:
        return NO_LIMIT
    return min(int((entry.median * ratio).to_integral_value(ROUND_FLOOR)), NO_LIMIT)
