"""The constraints applied: who is left of all miners, and how many each constraint rejected first.

What is the same for every query is worked out once, until a state changes. What does not depend on load comes before
what does, so that matches between which only load moves can share it.
"""

from dataclasses import dataclass

from matching.scoring.filters import BY_PROFILE, FILTERS, Filter, active
from matching.scoring.types import Query
from miners.registry import bitmaps
from miners.registry.bitmaps import Words
from miners.registry.store import Registry


@dataclass(frozen=True, slots=True)
class Filtered:
    """Who is left, and how many each constraint rejected first."""

    words: Words
    considered: int
    eligible: int
    rejected: dict[str, int]


def apply(registry: Registry, query: Query, now: float) -> Filtered:
    """Every constraint in order; considered = eligible + the sum of rejected."""
    return _narrowed(
        _given(registry, query, now), [each for each in active(query) if not each.given], registry, query, now
    )


def apply_unloaded(registry: Registry, query: Query, now: float) -> Filtered:
    """The constraints that nobody's own load changes."""
    tried = [each for each in active(query) if not (each.given or each.loaded)]
    return _narrowed(_given(registry, query, now), tried, registry, query, now)


def apply_loaded(registry: Registry, query: Query, unloaded: Filtered, now: float) -> Filtered:
    """The others, on what those left."""
    return _narrowed(unloaded, [each for each in active(query) if each.loaded], registry, query, now)


def _given(registry: Registry, query: Query, now: float) -> Filtered:
    memo = registry.states.memo
    if "given" not in memo:
        everyone = registry.states.present[: bitmaps.words_for(registry.size)]
        considered = Filtered(everyone, len(registry), len(registry), {})
        memo["given"] = _narrowed(considered, [each for each in FILTERS if each.given], registry, query, now)
    found: Filtered = memo["given"]
    return found


def by_profile(registry: Registry, query: Query, now: float) -> Words:
    """Who passes all constraints that are on profiles, whatever else."""
    words = registry.states.present[: bitmaps.words_for(registry.size)]
    for each in active(query):
        if each.name in BY_PROFILE:
            words = each.keep(registry, query, words, bitmaps.count(words), now)
    return words.copy()


def _narrowed(found: Filtered, tried: list[Filter], registry: Registry, query: Query, now: float) -> Filtered:
    words, count, rejected = found.words, found.eligible, dict(found.rejected)
    for each in tried:
        if not count:
            break
        words = each.keep(registry, query, words, count, now)
        left = bitmaps.count(words)
        if left != count:
            rejected[each.name] = count - left
        count = left
    return Filtered(words, found.considered, count, rejected)


def failures(registry: Registry, query: Query, slot: int, now: float) -> list[Filter]:
    """Every constraint that one miner fails, in order."""
    words = bitmaps.from_rows([slot], bitmaps.words_for(registry.size))
    return [each for each in active(query) if not bitmaps.has_bit(each.keep(registry, query, words, 1, now), slot)]
