"""Whose turn it is: work that ages, cut in parts so that no single match pays for all of it."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Part = TypeVar("Part", bound=Hashable)
EARLY = 0.75


class Turns(Generic[Part]):
    """No part gets older than max_age_s; frequent calls renew one part each, a little before its time."""

    def __init__(self, max_age_s: float) -> None:
        self.max_age_s = max_age_s
        self._renewed_at: dict[Part, float] = {}

    def due(self, parts: Iterable[Part], now: float) -> list[Part]:
        """Which of the parts to renew now; they count as renewed. A clock that went back makes a part due."""
        ages = {part: now - self._renewed_at.get(part, float("-inf")) for part in parts}
        chosen = [part for part, age in ages.items() if not 0 <= age < self.max_age_s]
        if not chosen and ages:
            oldest = max(ages, key=ages.__getitem__)
            chosen = [oldest] if ages[oldest] >= EARLY * self.max_age_s else []
        self._renewed_at.update(dict.fromkeys(chosen, now))
        return chosen

    def forget(self, part: Part) -> None:
        self._renewed_at.pop(part, None)
