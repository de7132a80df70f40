"""What a match compares, worked out beforehand: the references keep these as plain values, which favours them.

Written from the contract (sections 4 and 5) and not from the registry, so that equal answers say something.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.population import GRACE_S, HALF_LIFE_S, NOW, OBSERVED_FROM, REGIONS, SESSION_TTL_S, Population
from miners.registry.prices import UNITS


@dataclass(frozen=True, slots=True)
class Facts:
    """One array a field, one element a miner."""

    state: NDArray[np.float64]  # 1 online, 0.5 degraded, 0 never matched
    price: NDArray[np.float64]  # effective, tokens per 1,000 s
    latency_score: NDArray[np.float64]
    trust: NDArray[np.float64]
    eta_ms: NDArray[np.float64]  # nan = unknown


def facts(population: Population, now: float = NOW) -> Facts:
    p = population
    age = now - p.last_seen
    state = np.select([p.disabled | p.draining, age <= SESSION_TTL_S, age <= GRACE_S], [0.0, 1.0, 0.5], 0.0)
    price = np.where(p.override >= 0, p.override, p.price)
    price = np.where((p.price_cap >= 0) & (p.price_cap < price), p.price_cap, price)
    latency = np.where(p.latency_count >= OBSERVED_FROM, p.latency_mean, p.reported_latency)
    left = np.exp2(-(now - p.trust_at) / HALF_LIFE_S)
    s, f = p.trust_s * left, p.trust_f * left
    return Facts(
        state=state,
        price=price / UNITS,
        latency_score=_latency_score(p.region, latency, (age <= GRACE_S) & ~p.disabled),
        trust=(2 + s) / (4 + s + f),
        eta_ms=np.rint(latency * (1 + p.queue_len / p.max_parallel)),
    )


def _latency_score(
    region: NDArray[np.int64], latency: NDArray[np.float64], live: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """1 - r/n: r of the n live miners of the region whose latency is known are strictly faster; 0.5 unknown."""
    score = np.full(len(latency), 0.5)
    for code in range(len(REGIONS)):
        rows = np.flatnonzero((region == code) & live & ~np.isnan(latency))
        score[rows] = 1 - np.searchsorted(np.sort(latency[rows]), latency[rows]) / max(1, len(rows))
    return score
