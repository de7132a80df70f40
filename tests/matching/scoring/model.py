"""A match as the contract tells it (section 4; spillover section 7): miner after miner, constraint after constraint."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from matching.scoring.types import Candidate, Components, Failure, MatchResult, Query, Relaxation, WhyNot
from miners.registry.records import PriceSource
from tests.miners.registry.builders import row as any_row
from tests.miners.registry.model import ModelMiner, ModelRegistry

UNITS = 10**8
CONSTRAINTS = (
    "offline", "disabled", "draining", "excluded", "min_vram_gb", "min_ram_gb", "min_gpu_count", "min_cpu_cores", "min_mem_free_gb", "gpu_models", "proto", "accel", "region", "tags_any", "capabilities_any", "capabilities_all", "attested", "min_trust", "max_price", "max_price_vs_market", "capacity", "deadline_ms",
)  # fmt: skip


def places(value: float) -> float:
    return round(value * 10**6) / 10**6


def in_region(asked: str, region: str) -> bool:
    return region == asked or region.startswith(asked + "-")


def rtt_ms(model: ModelRegistry, asked: str, region: str) -> float:
    """Of the pairs whose regions are, or contain, these two: the one that leaves off the fewest parts of their names."""
    if in_region(asked, region):
        return 0.0
    both = [*model.roundtrips.items(), *(((b, a), ms) for (a, b), ms in model.roundtrips.items())]
    fit = [
        (-a.count("-") - b.count("-"), a, b, ms) for (a, b), ms in both if in_region(a, asked) and in_region(b, region)
    ]
    return min(fit)[-1] if fit else 150.0


@dataclass
class Check:
    """One constraint that is tried on one miner."""

    constraint: str
    asked: Any
    passes: bool
    actual: Any
    transient: bool = False
    nearest: Callable[..., float] | None = None  # min or max, for numeric constraints
    relaxed: float | None = None  # what lets it in, where that is not the actual value as it is shown


def checks(model: ModelRegistry, query: Query, miner: ModelMiner, now: float) -> list[Check]:
    """Every constraint that is tried, in the contract's order."""
    q, row = query, miner.row
    price, trust = miner.price(now)[0], model.trust(miner, now)
    found = [
        Check("offline", "online", model.live_by_contact(miner, now), "offline", True),
        Check("disabled", False, not row.disabled, True),
        Check("draining", False, not (row.draining or row.operator_drain), True, True),
    ]

    def named(constraint: str, asked: Any, passes: Callable[[], bool], actual: Any, **kinds: Any) -> None:
        if asked is not None and asked is not False and asked != ():
            found.append(Check(constraint, asked, passes(), actual, **kinds))

    named("excluded", q.exclude_miners, lambda: row.miner_id not in q.exclude_miners, row.miner_id)
    named("min_vram_gb", q.min_vram_gb, lambda: row.gpu_vram >= q.min_vram_gb, row.gpu_vram, nearest=max)
    named("min_ram_gb", q.min_ram_gb, lambda: row.ram_gb >= q.min_ram_gb, row.ram_gb, nearest=max)
    named("min_gpu_count", q.min_gpu_count, lambda: row.gpu_count >= q.min_gpu_count, row.gpu_count, nearest=max)
    named("min_cpu_cores", q.min_cpu_cores, lambda: row.cpu_cores >= q.min_cpu_cores, row.cpu_cores, nearest=max)
    named(
        "min_mem_free_gb", q.min_mem_free_gb,
        lambda: miner.mem_free_gb is not None and miner.mem_free_gb >= q.min_mem_free_gb, miner.mem_free_gb, nearest=max,
    )  # fmt: skip
    named(
        "gpu_models", q.gpu_models,
        lambda: any(part.lower() in row.gpu_name.lower() for part in q.gpu_models), row.gpu_name,
    )  # fmt: skip
    named("proto", q.proto_any, lambda: row.proto in q.proto_any, row.proto)
    named("accel", q.accel, lambda: set(q.accel) <= set(row.accel), list(row.accel))
    if not q.spillover:
        named("region", q.region, lambda: in_region(q.region, row.region), row.region)
    named("tags_any", q.tags_any, lambda: bool(set(q.tags_any) & set(row.tags)), list(row.tags))
    held = set(row.capabilities)
    named("capabilities_any", q.capabilities_any, lambda: bool(set(q.capabilities_any) & held), list(row.capabilities))
    named("capabilities_all", q.capabilities_all, lambda: set(q.capabilities_all) <= held, list(row.capabilities))
    named("attested", q.attested, lambda: row.attested_until > now, False)
    named("min_trust", q.min_trust, lambda: trust >= q.min_trust, places(trust), nearest=max)
    named(
        "max_price", None if q.max_price is None else float(q.max_price),
        lambda: Decimal(price) <= q.max_price * UNITS, price / UNITS, nearest=min,
    )  # fmt: skip
    entry = model.find(row.gpu_name, row.region)
    ratio = None if entry is None or not entry.median else Fraction(price, entry.median)
    named(
        "max_price_vs_market", None if q.max_price_vs_market is None else float(q.max_price_vs_market),
        lambda: entry is None or Fraction(price) <= Fraction(q.max_price_vs_market) * entry.median,
        None if ratio is None else round(price / entry.median, 6), nearest=min,
        relaxed=None if ratio is None else math.ceil(ratio * 10**6) / 10**6,
    )  # fmt: skip
    found.append(Check("capacity", 1, miner.free > 0, max(0, miner.free), True))
    eta = miner.eta_ms
    named("deadline_ms", q.deadline_ms, lambda: eta is None or eta <= q.deadline_ms, eta, transient=True, nearest=min)
    return found


@dataclass
class Field:
    """What a miner's score depends on beside itself."""

    dearest: int  # the highest effective price among the eligible, in units; 0 without any
    latency: dict[str, float]  # the latency component of every miner


def failures(model: ModelRegistry, query: Query, now: float) -> dict[str, list[Check]]:
    """What each miner fails, in order."""
    return {
        miner_id: [each for each in checks(model, query, miner, now) if not each.passes]
        for miner_id, miner in model.miners.items()
    }


def field_of(
    model: ModelRegistry, query: Query, now: float, failed: dict[str, list[Check]]
) -> tuple[list[ModelMiner], Field]:
    eligible = [miner for miner_id, miner in model.miners.items() if not failed[miner_id]]
    dearest = max((each.price(now)[0] for each in eligible), default=0)
    return eligible, Field(dearest, model.latency_components(now))


def components(model: ModelRegistry, query: Query, miner: ModelMiner, now: float, field: Field) -> Components:
    """Unrounded."""
    asked = {*query.capabilities_any, *query.capabilities_all}
    cap = len(asked & set(miner.row.capabilities)) / len(asked) if asked else 1.0
    ceiling = field.dearest / UNITS if query.max_price is None else float(query.max_price)
    price = 1.0 if ceiling == 0 else min(1.0, max(0.0, 1 - miner.price(now)[0] / UNITS / ceiling))
    latency = field.latency[miner.row.miner_id]
    if query.spillover and query.region is not None:
        latency *= max(0.0, 1 - rtt_ms(model, query.region, miner.row.region) / 300)
    free = max(0, miner.free)
    return Components(cap, price, latency, model.trust(miner, now), free / (free + 1))


def candidate(model: ModelRegistry, query: Query, miner: ModelMiner, now: float, field: Field) -> Candidate:
    c, w = components(model, query, miner, now, field), query.weights
    weighted = c.cap * w.cap + c.price * w.price + c.latency * w.latency + c.trust * w.trust + c.load * w.load
    score = weighted / (w.cap + w.price + w.latency + w.trust + w.load)
    degraded = model.late(miner, now)
    price, source = miner.price(now)
    said = "" if source is PriceSource.OWN else f" ({source})"
    c = Components(places(c.cap), places(c.price), places(c.latency), places(c.trust), places(c.load))
    explain = (
        f"cap={c.cap:.2f} • price={c.price:.2f}{said} • latency={c.latency:.2f}"
        f" • trust={c.trust:.2f} • load={c.load:.2f}" + " • degraded ×0.5" * degraded
    )
    row = miner.row
    return Candidate(
        row.miner_id, row.addr, row.proto, places(score * 0.5 if degraded else score), miner.eta_ms, price / UNITS,
        row.region, row.gpu_name, c, explain, miner.free, price, source,
    )  # fmt: skip


def ranking(model: ModelRegistry, query: Query, now: float, failed: dict[str, list[Check]]) -> list[Candidate]:
    """Every eligible miner, best first."""
    eligible, field = field_of(model, query, now, failed)
    found = [candidate(model, query, each, now, field) for each in eligible]
    return sorted(found, key=lambda c: (-c.score, model.miners[c.miner_id].price(now)[0], c.miner_id))


def match(model: ModelRegistry, query: Query, *, now: float) -> MatchResult:
    failed = failures(model, query, now)
    found = ranking(model, query, now, failed)
    rejected: dict[str, int] = {}
    for missed in failed.values():
        if missed:
            rejected[missed[0].constraint] = rejected.get(missed[0].constraint, 0) + 1
    considered = len(model.miners)
    if found:
        explain = found[0].explain
    else:
        reasons = sorted(rejected.items(), key=lambda each: (-each[1], CONSTRAINTS.index(each[0])))
        explain = f"no miner of {considered} is eligible"
        explain += (
            ": " + ", ".join(f"{name} {n}" for name, n in reasons).replace(" ", " rejected ", 1) if reasons else ""
        )
    return MatchResult(
        candidates=found[: query.top_k],
        explain=explain,
        considered=considered,
        eligible=len(found),
        rejected={name: rejected[name] for name in CONSTRAINTS if name in rejected},
        relaxations=relaxations(model, query, now, failed) if query.full else None,
    )


def relaxations(model: ModelRegistry, query: Query, now: float, failed: dict[str, list[Check]]) -> list[Relaxation]:
    """For each constraint tried: who fails it and nothing else."""
    tried = checks(model, query, ModelMiner(any_row()), now)
    only: dict[str, list[Check]] = {each.constraint: [] for each in tried}
    for missed in failed.values():
        if len(missed) == 1:
            only[missed[0].constraint].append(missed[0])
    result = []
    for each in tried:
        values = [
            one.actual if one.relaxed is None else one.relaxed
            for one in only[each.constraint]
            if one.actual is not None
        ]
        nearest = each.nearest(values) if each.nearest and values else None
        result.append(Relaxation(each.constraint, each.asked, len(only[each.constraint]), nearest))
    return sorted(result, key=lambda one: -one.adds)


def why_not(model: ModelRegistry, query: Query, miner_id: str, *, now: float) -> WhyNot | None:
    if miner_id not in model.miners:
        return None
    failed = failures(model, query, now)
    if failed[miner_id]:
        missed = [Failure(each.constraint, each.asked, each.actual, each.transient) for each in failed[miner_id]]
        return WhyNot(miner_id, False, None, missed)
    ids = [each.miner_id for each in ranking(model, query, now, failed)]
    return WhyNot(miner_id, True, ids.index(miner_id) + 1, [])
