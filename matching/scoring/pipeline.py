"""A match: filter, score, rank, explain. The caller holds the registry's lock, so that it sees one moment."""

from dataclasses import replace

import numpy as np

from matching.scoring import explain, filtering, rank, scorers
from matching.scoring.relaxations import relaxations
from matching.scoring.types import Candidate, Failure, MatchResult, Query, WhyNot
from miners.registry.store import Registry
from poolhub.common.tracing import span


def match(registry: Registry, query: Query, *, now: float) -> MatchResult:
    registry.refresh(now)
    return match_refreshed(registry, query, now=now)


def match_refreshed(registry: Registry, query: Query, *, now: float) -> MatchResult:
    """The same where the registry was refreshed at this time already."""
    with span("filter"):
        filtered = filtering.apply(registry, query, now)
    found: list[Candidate] = []
    if filtered.eligible:
        with span("score"):
            terms = scorers.terms_of(registry, query, filtered.words)
            ranked = rank.top_k(registry, query, terms, filtered.words, filtered.eligible, now)
        with span("explain"):
            found = explain.candidates(registry, ranked)
    result = explain.result(found, filtered)
    return replace(result, relaxations=relaxations(registry, query, now)) if query.full else result


def candidate(registry: Registry, query: Query, miner_id: str, *, now: float) -> Candidate | None:
    """One miner as a candidate, whether or not it is eligible; None for an unknown one. Refreshed already."""
    slot = registry.slots.get(miner_id)
    if slot is None:
        return None
    terms = scorers.terms_of(registry, query, filtering.apply(registry, query, now).words)
    return explain.candidates(registry, scorers.exact(registry, query, terms, np.array([slot]), now))[0]


def why_not(registry: Registry, query: Query, miner_id: str, *, now: float) -> WhyNot | None:
    """Every constraint that one miner fails, and its rank where it fails none; None for an unknown miner."""
    slot = registry.slots.get(miner_id)
    if slot is None:
        return None
    registry.refresh(now)
    failed = [
        Failure(each.name, each.asked(query), each.actual(registry, slot, now), each.transient)
        for each in filtering.failures(registry, query, slot, now)
    ]
    if failed:
        return WhyNot(miner_id, False, None, failed)
    eligible = filtering.apply(registry, query, now).words
    terms = scorers.terms_of(registry, query, eligible)
    return WhyNot(miner_id, True, rank.position(registry, query, terms, eligible, slot, now), [])
