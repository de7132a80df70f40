"""The words of an answer: why a candidate scores as it does, and why nobody is eligible; from what scoring left."""

import numpy as np

from matching.scoring.filtering import Filtered
from matching.scoring.scorers import PLACES, Scored
from matching.scoring.types import Candidate, Components, MatchResult
from miners.registry import views
from miners.registry.prices import PRICE_SOURCES, UNITS
from miners.registry.records import PriceSource
from miners.registry.store import Registry

SOURCES = tuple("" if source is PriceSource.OWN else f" ({source})" for source in PRICE_SOURCES)


def candidates(registry: Registry, scored: Scored) -> list[Candidate]:
    columns, rows = registry.columns, scored.rows
    parts = np.round(scored.parts, PLACES).T.tolist()
    etas = columns.eta_ms[rows].tolist()
    prices = columns.price[rows].tolist()
    scores, degraded, room = scored.score.tolist(), scored.degraded.tolist(), scored.room.tolist()
    sources = columns.price_source[rows].tolist()
    result = []
    for i, slot in enumerate(rows.tolist()):
        region, proto, gpu_name = views.place_of(registry, slot)
        cap, price, latency, trust, load = parts[i]
        text = (
            f"cap={cap:.2f} • price={price:.2f}{SOURCES[sources[i]]} • latency={latency:.2f}"
            f" • trust={trust:.2f} • load={load:.2f}"
        )
        if degraded[i]:
            text += " • degraded ×0.5"
        result.append(
            Candidate(
                registry.ids[slot],
                registry.addrs[slot],
                proto,
                scores[i] / 10**PLACES,
                None if etas[i] < 0 else int(etas[i]),
                prices[i] / UNITS,
                region,
                gpu_name,
                Components(cap, price, latency, trust, load),
                text,
                room[i],
                prices[i],
                PRICE_SOURCES[sources[i]],
            )
        )
    return result


def result(found: list[Candidate], filtered: Filtered) -> MatchResult:
    return MatchResult(
        candidates=found,
        explain=found[0].explain if found else nobody(filtered),
        considered=filtered.considered,
        eligible=filtered.eligible,
        rejected=filtered.rejected,
        relaxations=None,
    )


def nobody(filtered: Filtered) -> str:
    text = f"no miner of {filtered.considered} is eligible"
    most = sorted(filtered.rejected.items(), key=lambda item: -item[1])
    if not most:
        return text
    return f"{text}: {most[0][0]} rejected {most[0][1]}" + "".join(f", {name} {number}" for name, number in most[1:])
