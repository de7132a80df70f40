"""HTCondor's ClassAds: an ad a miner, and a job's requirements and rank evaluated against each.

Of the ways in the Python bindings, per ad at 5,000 ads: `symmetricMatch` 16 us, `matches` 7-10 us, and the job's
expression, parsed once, evaluated in the miner's ad 1-2 us. The last is what is timed as "ClassAds". Fastest of all is
one expression over a list of ads inside a single ad (`evalInEachContext`, made for the GPUs of one machine): nothing of
Python is left between two ads. It is timed as "ClassAds, one call". Attributes are what evaluates fastest: a flag for
each capability, tag and accelerator instead of lists. As with SQLite, state, trust, latency rank and effective price
are plain values and no rejections are counted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import classad2
import htcondor2  # noqa: F401 - without it, evalInEachContext is not known

from benchmarks.facts import Facts
from benchmarks.population import GPUS, REGIONS, TAGS, Population, capability_code, miner_id
from matching.scoring.types import Query

NOT_ELIGIBLE = -1.0


class Ads:
    def __init__(self, population: Population, facts: Facts) -> None:
        self.ids = [miner_id(i) for i in range(population.size)]
        self.prices = facts.price.tolist()
        self.ads = [classad2.ClassAd(each) for each in _attributes(population, facts)]

    def prepared(self, query: Query) -> Callable[[], list[str]]:
        return _prepared(self, query, self._each)

    def _each(self, expression: str) -> Callable[[], list[float]]:
        ads, parsed = self.ads, classad2.ExprTree(expression)
        return lambda: [parsed.eval(ad) for ad in ads]


class AdsInOne(Ads):
    """The same ads copied into a list within one ad, which doubles their memory."""

    def __init__(self, ads: Ads) -> None:
        self.ids, self.prices = ads.ids, ads.prices
        self._pool = classad2.ClassAd()
        self._pool["Miners"] = ads.ads
        self._expressions = 0

    def _each(self, expression: str) -> Callable[[], list[float]]:
        self._expressions += 1
        name = f"Expression{self._expressions}"
        self._pool[name] = classad2.ExprTree(f"evalInEachContext({expression}, Miners)")
        return lambda: self._pool.eval(name)  # type: ignore[no-any-return]


def _prepared(ads: Ads, query: Query, each: Callable[[str], Callable[[], list[float]]]) -> Callable[[], list[str]]:
    requirements = " && ".join(_conditions(query))
    if query.max_price is not None:
        score = each(f"ifThenElse({requirements}, {_rank(query, float(query.max_price))}, {NOT_ELIGIBLE})")
        return lambda: _best(ads, score(), query.top_k)
    price = each(f"ifThenElse({requirements}, Price, {NOT_ELIGIBLE})")

    def run() -> list[str]:
        """Without a cap, the dearest of the eligible is the measure: known only after a first pass."""
        rank = each(f"ifThenElse({requirements}, {_rank(query, max(price()))}, {NOT_ELIGIBLE})")
        return _best(ads, rank(), query.top_k)

    return run


def _best(ads: Ads, scores: Sequence[float], k: int) -> list[str]:
    """In the contract's order: score to 6 places, price, id."""
    reached = sorted(scores, reverse=True)[:k][-1] - 1e-6
    rows = [i for i, score in enumerate(scores) if score >= reached and score != NOT_ELIGIBLE]
    rows.sort(key=lambda i: (-round(scores[i] * 1e6), ads.prices[i], ads.ids[i]))
    return [ads.ids[i] for i in rows[:k]]


def _attributes(population: Population, facts: Facts) -> Iterator[dict[str, Any]]:
    p = population
    columns = zip(
        p.gpu.tolist(), p.region.tolist(), p.ram_gb.tolist(), p.gpu_count.tolist(), p.cpu_cores.tolist(),
        facts.state.tolist(), facts.price.tolist(), facts.latency_score.tolist(), facts.trust.tolist(),
        (p.max_parallel - p.queue_len).tolist(), facts.eta_ms.tolist(), strict=True,
    )  # fmt: skip
    for i, (gpu, region, ram, gpus, cores, state, price, latency, trust, free, eta) in enumerate(columns):
        _, vram, accel, *_ = GPUS[gpu]
        ad = {
            "MinerId": miner_id(i), "Vram": float(vram), "Ram": float(ram), "Gpus": gpus, "Cores": cores,
            "RegionRoot": REGIONS[region][0].split("-")[0], "State": state, "Price": price, "LatencyScore": latency,
            "Trust": trust, "Free": free,
        }  # fmt: skip
        if not math.isnan(eta):
            ad["Eta"] = eta
        ad.update((f"Has_{name}", True) for name in accel)
        ad.update((f"Tag_{code}", True) for code in p.tags.of(i))
        ad.update((f"Cap_{code}", True) for code in p.capabilities.of(i))
        yield ad


def _conditions(query: Query) -> list[str]:
    found = ["State > 0", "Free > 0"]
    for name, least in (
        ("Vram", query.min_vram_gb), ("Ram", query.min_ram_gb), ("Gpus", query.min_gpu_count),
        ("Cores", query.min_cpu_cores), ("Trust", query.min_trust),
    ):  # fmt: skip
        if least is not None:
            found.append(f"{name} >= {least}")
    if query.max_price is not None:
        found.append(f"Price <= {query.max_price}")
    if query.region is not None:
        found.append(f'RegionRoot == "{query.region}"')
    found += [f"Has_{name} =?= true" for name in query.accel]
    if query.deadline_ms is not None:
        found.append(f"(Eta =?= undefined || Eta <= {query.deadline_ms})")
    if query.tags_any:
        found.append("(" + " || ".join(f"Tag_{TAGS.index(name)} =?= true" for name in query.tags_any) + ")")
    if query.capabilities_any:
        found.append("(" + " || ".join(map(_holds, query.capabilities_any)) + ")")
    return found + [_holds(name) for name in query.capabilities_all]


def _rank(query: Query, ceiling: float) -> str:
    w, asked = query.weights, query.capabilities_any
    cap = (
        f"(({' + '.join(f'ifThenElse({_holds(name)}, 1, 0)' for name in asked)}) / {float(len(asked))})"
        if asked
        else "1.0"
    )
    return (
        f"State * (({cap} * {w.cap} + (1 - Price / {ceiling!r}) * {w.price} + LatencyScore * {w.latency}"
        f" + Trust * {w.trust} + Free / (Free + 1.0) * {w.load}) / {w.cap + w.price + w.latency + w.trust + w.load})"
    )


def _holds(name: str) -> str:
    return f"Cap_{capability_code(name)} =?= true"
