"""Effective prices: the override in force, else the miner's own, never above its cap (contract, section 4)."""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miners.registry.bitmaps import Rows
from miners.registry.columns import INF, WIDE, Columns
from miners.registry.records import PriceSource, PriceWindow

PRICE_SOURCES = tuple(PriceSource)
UNITS = 10**8  # a price is kept as an integer of 1e-8 tokens


class Prices:
    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._windows: dict[int, tuple[PriceWindow, ...]] = {}  # slot -> overrides, newest first
        self._changes: list[tuple[float, int]] = []  # when a window of a slot opens or closes

    def windows(self, slot: int) -> tuple[PriceWindow, ...]:
        return self._windows.get(slot, ())

    def all_windows(self) -> dict[int, tuple[PriceWindow, ...]]:
        """By slot, of those that have any."""
        return dict(self._windows)

    def put(self, slot: int, windows: tuple[PriceWindow, ...], now: float) -> None:
        if windows:
            self._windows[slot] = windows
        else:
            self._windows.pop(slot, None)
        self._settle(slot, now)

    def give(self, slot: int, windows: tuple[PriceWindow, ...]) -> None:
        """To a new slot, which settle_rows() then takes into account."""
        self._windows[slot] = windows

    def settle_rows(self, rows: Rows, now: float) -> None:
        """Bring the prices of new slots in step."""
        self._set_rows(rows, self._columns.own_price[rows], PriceSource.OWN)
        if self._windows:
            for slot in rows[np.isin(rows, np.fromiter(self._windows, np.intp))].tolist():
                self._settle(slot, now)

    def refresh(self, now: float) -> None:
        while self._changes and self._changes[0][0] <= now:
            _, slot = heapq.heappop(self._changes)
            if slot in self._windows:  # a slot given away since merely settles once more
                self._settle(slot, now)

    @contextmanager
    def supposed(self, slots: NDArray[np.intp], price: int) -> Iterator[None]:
        """For the block, as if an override of this price were the newest in force; caps hold as ever.

        The caller holds the registry's lock, has refreshed it, and changes nothing meanwhile.
        """
        columns = self._columns
        touched: tuple[NDArray[Any], ...] = (columns.price, columns.u_price, columns.f_price, columns.price_source)
        kept = [column[slots] for column in touched]
        try:
            self._set_rows(slots, price, PriceSource.OVERRIDE)
            yield
        finally:
            for column, values in zip(touched, kept, strict=True):
                column[slots] = values

    def _set_rows(self, rows: Rows, price: NDArray[np.int64] | int, source: PriceSource) -> None:
        """Prices from this source, and the miner's cap where that is lower."""
        columns = self._columns
        cap = columns.price_cap[rows]
        capped = (cap >= 0) & (cap < price)
        prices = np.where(capped, cap, price)
        columns.price[rows] = prices
        columns.u_price[rows] = np.minimum(prices, WIDE)
        columns.f_price[rows] = prices / UNITS
        columns.price_source[rows] = np.where(capped, PRICE_SOURCES.index(PriceSource.CAP), PRICE_SOURCES.index(source))

    def _settle(self, slot: int, now: float) -> None:
        columns = self._columns
        price, source = int(columns.own_price[slot]), PriceSource.OWN
        windows = self._windows.get(slot, ())
        for window in windows:
            if window.starts_at <= now < window.ends_at:
                price, source = window.price, PriceSource.OVERRIDE
                break
        cap = int(columns.price_cap[slot])
        if 0 <= cap < price:
            price, source = cap, PriceSource.CAP
        columns.price[slot] = price
        columns.u_price[slot] = min(price, WIDE)
        columns.f_price[slot] = price / UNITS
        columns.price_source[slot] = PRICE_SOURCES.index(source)
        ahead = [t for window in windows for t in (window.starts_at, window.ends_at) if now < t < INF]
        if ahead:
            heapq.heappush(self._changes, (min(ahead), slot))
