"""The constraints of a match, as bitmaps over the registry.

FILTERS is in the contract's order (section 4): a miner is counted under the first constraint that it fails. The order
costs nothing, since each step is one AND over packed bits; those without a bitmap come where the contract has them and
test only what is left. Adding a constraint: one row here, its field in Query, its place in the contract.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any, TypeAlias

import numpy as np

from matching.scoring.types import Query
from miners.registry import bitmaps, views
from miners.registry.bitmaps import Mask, Rows, Words
from miners.registry.columns import WIDE
from miners.registry.prices import UNITS
from miners.registry.store import Registry
from miners.registry.terms import Kind

Selector: TypeAlias = slice | Rows
SPARSE_SHARE = 128  # with fewer survivors than one in so many, rows are gathered instead of columns scanned …
SCAN_ROWS = 100_000  # … unless so few rows are scanned sooner than gathered
TRUST_SLACK = 1e-6  # the trust column may lack that much forgetting


@dataclass(frozen=True, slots=True)
class Filter:
    """One constraint.

    asked: what the query asks, None where it does not name the constraint. keep: the survivors among words, `count` of
    them; it may return a stored bitmap, so nobody writes to it. actual: what a miner has. nearest: for numeric ones,
    the best value among rows, which is what one would relax to.
    """

    name: str
    asked: Callable[[Query], Any]
    keep: Callable[[Registry, Query, Words, int, float], Words]
    actual: Callable[[Registry, int, float], Any]
    always: bool = False
    transient: bool = False
    nearest: Callable[[Registry, Rows, float], float | None] | None = None
    given: bool = False  # the same for every query: worked out once, until a state changes
    loaded: bool = False  # depends on the miner's own load; these come last, so that the others can be shared


def active(query: Query) -> list[Filter]:
    return [each for each in FILTERS if each.always or each.asked(query) is not None]


def among(registry: Registry, words: Words, count: int, test: Callable[[Selector], Mask]) -> Words:
    """Those of words that pass a test on columns: gathered where they are few, scanned where they are many."""
    if count * SPARSE_SHARE < registry.size > SCAN_ROWS:
        rows = bitmaps.to_rows(words)
        return bitmaps.from_rows(rows[test(rows)], len(words))
    return bitmaps.from_mask(test(slice(0, len(words) << 6))) & words


def price_units(price: Decimal) -> int:
    """The highest price in registry units that is not above a limit."""
    return int((price * UNITS).to_integral_value(ROUND_FLOOR))


# ---- one function a constraint that is more than one AND


def _keep_excluded(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    slots = [registry.slots[each] for each in query.exclude_miners if each in registry.slots]
    return words & ~bitmaps.from_rows(slots, len(words)) if slots else words


def _keep_range(column: str, asked: Callable[[Query], float]) -> Callable[[Registry, Query, Words, int, float], Words]:
    def keep(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
        index, values = registry.ranges[column], getattr(registry.columns, column)
        return words & index.at_least(asked(query), values, words)

    return keep


def _keep_mem_free(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    assert query.min_mem_free_gb is not None, "tried only where asked"
    limit, free = query.min_mem_free_gb, registry.columns.mem_free_gb
    return among(registry, words, count, lambda sel: free[sel] >= limit)  # nan, unknown, fails


def _keep_all(
    kind: Kind, asked: Callable[[Query], tuple[str, ...]]
) -> Callable[[Registry, Query, Words, int, float], Words]:
    def keep(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
        for name in asked(query):
            words = words & registry.terms.words(kind, name, len(words))
        return words

    return keep


def _keep_any(
    kind: Kind, asked: Callable[[Query], tuple[str, ...]]
) -> Callable[[Registry, Query, Words, int, float], Words]:
    def keep(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
        return words & registry.terms.any_of(kind, asked(query), len(words))

    return keep


def _keep_attested(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    until = registry.columns.attested_until
    return among(registry, words, count, lambda sel: until[sel] > now)


def _keep_trust(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    limit = query.min_trust
    assert limit is not None, "tried only where asked"
    stale = registry.columns.f_trust
    likely = among(registry, words, count, lambda sel: stale[sel] >= limit - TRUST_SLACK)
    sure = among(registry, likely, count, lambda sel: stale[sel] >= limit + TRUST_SLACK)
    close = bitmaps.to_rows(likely & ~sure)
    exact = close[registry.trust.exact(close, now) >= limit]
    return sure | bitmaps.from_rows(exact, len(words))


def _keep_price(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    assert query.max_price is not None, "tried only where asked"
    limit, columns = price_units(query.max_price), registry.columns
    price = columns.u_price if limit < WIDE else columns.price
    return among(registry, words, count, lambda sel: price[sel] <= limit)


def _keep_market_price(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    assert query.max_price_vs_market is not None, "tried only where asked"
    limits = registry.market.limits(query.max_price_vs_market)
    price, market = registry.columns.price, registry.columns.market
    return among(registry, words, count, lambda sel: price[sel] <= limits[market[sel]])


def _keep_deadline(registry: Registry, query: Query, words: Words, count: int, now: float) -> Words:
    assert query.deadline_ms is not None, "tried only where asked"
    limit, columns = math.floor(query.deadline_ms), registry.columns
    eta = columns.u_eta if limit < WIDE else columns.eta_ms
    return among(registry, words, count, lambda sel: eta[sel] <= limit)  # unknown is below any limit


def _best(column: str) -> Callable[[Registry, Rows, float], float | None]:
    def nearest(registry: Registry, rows: Rows, now: float) -> float | None:
        values = getattr(registry.columns, column)[rows]
        values = values[~np.isnan(values)]
        return float(values.max()) if len(values) else None

    return nearest


def _lowest_price(registry: Registry, rows: Rows, now: float) -> float:
    return int(registry.columns.price[rows].min()) / UNITS


def _lowest_ratio(registry: Registry, rows: Rows, now: float) -> float | None:
    """Rounded up, so that asking for it lets the miner in; None where their market prices are 0."""
    medians = registry.market.medians()[registry.columns.market[rows]]
    prices = registry.columns.price[rows][medians > 0]
    medians = medians[medians > 0]
    if not len(medians):
        return None
    ratios = prices / medians
    lowest = ratios <= ratios.min() * (1 + 1e-9)  # as far as floats tell them apart
    pairs = set(zip(prices[lowest].tolist(), medians[lowest].tolist(), strict=True))
    millionths: int = min(-(-price * 10**6 // median) for price, median in pairs)
    return millionths / 10**6


def _best_trust(registry: Registry, rows: Rows, now: float) -> float:
    # rounded down, so that asking for it lets the miner in
    return float(np.floor(registry.trust.exact(rows, now).max() * 1e6) / 1e6)


def _shortest_eta(registry: Registry, rows: Rows, now: float) -> float:
    return float(registry.columns.eta_ms[rows].min())


def _named(kind: Kind) -> Callable[[Registry, int, float], list[str]]:
    return lambda registry, slot, now: [name for k, name in views.terms_of(registry, slot) if k is kind]


def _only(kind: Kind) -> Callable[[Registry, int, float], str]:
    return lambda registry, slot, now: _named(kind)(registry, slot, now)[0]


def _number(column: str) -> Callable[[Registry, int, float], float | None]:
    return lambda registry, slot, now: views.known(getattr(registry.columns, column)[slot])


def _actual_eta(registry: Registry, slot: int, now: float) -> float | None:
    return float(registry.columns.eta_ms[slot])


def _actual_room(registry: Registry, slot: int, now: float) -> int:
    columns = registry.columns
    return max(0, int(columns.max_parallel[slot]) - int(columns.own[slot]) - int(columns.foreign[slot]))


def _actual_ratio(registry: Registry, slot: int, now: float) -> float | None:
    found = registry.market.position(slot)
    return None if found is None else found.ratio


def _actual_trust(registry: Registry, slot: int, now: float) -> float:
    return round(float(registry.trust.exact(np.array([slot]), now)[0]), 6)


FILTERS = (
    Filter(
        "offline", lambda q: "online", lambda r, q, words, count, now: words & r.states.live[: len(words)],
        lambda r, slot, now: "offline", always=True, given=True, transient=True,
    ),
    Filter(
        "disabled", lambda q: False, lambda r, q, words, count, now: words & ~r.states.disabled[: len(words)],
        lambda r, slot, now: True, always=True, given=True,
    ),
    Filter(
        "draining", lambda q: False, lambda r, q, words, count, now: words & ~r.states.draining[: len(words)],
        lambda r, slot, now: True, always=True, given=True, transient=True,
    ),
    Filter("excluded", lambda q: q.exclude_miners or None, _keep_excluded, lambda r, slot, now: r.ids[slot]),
    Filter(
        "min_vram_gb", lambda q: q.min_vram_gb, _keep_range("gpu_vram", lambda q: q.min_vram_gb or 0),
        _number("gpu_vram"), nearest=_best("gpu_vram"),
    ),
    Filter(
        "min_ram_gb", lambda q: q.min_ram_gb, _keep_range("ram_gb", lambda q: q.min_ram_gb or 0),
        _number("ram_gb"), nearest=_best("ram_gb"),
    ),
    Filter(
        "min_gpu_count", lambda q: q.min_gpu_count, _keep_range("gpu_count", lambda q: q.min_gpu_count or 0),
        _number("gpu_count"), nearest=_best("gpu_count"),
    ),
    Filter(
        "min_cpu_cores", lambda q: q.min_cpu_cores, _keep_range("cpu_cores", lambda q: q.min_cpu_cores or 0),
        _number("cpu_cores"), nearest=_best("cpu_cores"),
    ),
    Filter(
        "min_mem_free_gb", lambda q: q.min_mem_free_gb, _keep_mem_free,
        _number("mem_free_gb"), nearest=_best("mem_free_gb"),
    ),
    Filter(
        "gpu_models", lambda q: q.gpu_models or None,
        lambda r, q, words, count, now: words & r.terms.gpus_like(q.gpu_models, len(words)), _only(Kind.GPU),
    ),
    Filter("proto", lambda q: q.proto_any or None, _keep_any(Kind.PROTO, lambda q: q.proto_any), _only(Kind.PROTO)),
    Filter("accel", lambda q: q.accel or None, _keep_all(Kind.ACCEL, lambda q: q.accel), _named(Kind.ACCEL)),
    Filter(
        "region", lambda q: None if q.spillover else q.region,
        lambda r, q, words, count, now: words & r.terms.region_taken(q.region or "", len(words)), _only(Kind.REGION),
    ),
    Filter("tags_any", lambda q: q.tags_any or None, _keep_any(Kind.TAG, lambda q: q.tags_any), _named(Kind.TAG)),
    Filter(
        "capabilities_any", lambda q: q.capabilities_any or None,
        _keep_any(Kind.CAPABILITY, lambda q: q.capabilities_any), _named(Kind.CAPABILITY),
    ),
    Filter(
        "capabilities_all", lambda q: q.capabilities_all or None,
        _keep_all(Kind.CAPABILITY, lambda q: q.capabilities_all), _named(Kind.CAPABILITY),
    ),
    Filter(
        "attested", lambda q: q.attested or None, _keep_attested,
        lambda r, slot, now: bool(r.columns.attested_until[slot] > now),
    ),
    Filter("min_trust", lambda q: q.min_trust, _keep_trust, _actual_trust, nearest=_best_trust),
    Filter(
        "max_price", lambda q: None if q.max_price is None else float(q.max_price), _keep_price,
        lambda r, slot, now: int(r.columns.price[slot]) / UNITS, nearest=_lowest_price,
    ),
    Filter(
        "max_price_vs_market", lambda q: None if q.max_price_vs_market is None else float(q.max_price_vs_market),
        _keep_market_price, _actual_ratio, nearest=_lowest_ratio,
    ),
    Filter(
        "capacity", lambda q: 1, lambda r, q, words, count, now: words & r.states.free[: len(words)],
        _actual_room, always=True, transient=True, loaded=True,
    ),
    Filter(
        "deadline_ms", lambda q: q.deadline_ms, _keep_deadline, _actual_eta, transient=True, nearest=_shortest_eta,
        loaded=True,
    ),
)  # fmt: skip

CONSTRAINTS = tuple(each.name for each in FILTERS)

# what a miner passes or fails by its profile alone
BY_PROFILE = frozenset(CONSTRAINTS) - {
    "offline", "disabled", "draining", "min_mem_free_gb", "attested", "min_trust", "max_price", "max_price_vs_market",
    "capacity", "deadline_ms",
}  # fmt: skip
