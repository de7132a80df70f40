"""What the property tests draw from: few values each, so that ties, limits and empty answers are common."""

import math
from decimal import Decimal
from itertools import combinations
from random import Random
from typing import Any

from hypothesis import strategies as st

from matching.scoring.types import DEFAULT_WEIGHTS, Query, Weights
from miners.registry.market import MarketEntry
from miners.registry.records import LiveStatus, MinerRow, PriceWindow
from tests.miners.registry.builders import NOW, UNITS, row
from tests.miners.registry.model import ModelMiner, ModelRegistry

REGIONS = ("", "eu", "eu-west", "eu-west-1", "europe", "us-east")
GPUS = ("", "NVIDIA H100", "RTX 4090", "rtx 4090 ti", "MI300X")
PROTOS = ("grpc", "http", "ws")
ACCELS = ("cuda", "rocm", "cpu")
TAGS = ("t0", "t1", "t2", "t3")
CAPABILITIES = tuple(f"c{i}" for i in range(8))
VRAM = (0.0, 8.0, 8.5, 24.0, 80.0, 1e6)
COUNTS = (0, 1, 2, 8, 10**6)
PRICES = (0, 1, 10**7 - 1, 10**7, 10**7 + 1, 10**8, 10**17 - 1, 10**17)  # units; 10**7 is 0.1 token
LIMITS = tuple(map(Decimal, ("0", "1e-300", "0.00000001", "0.1", "0.100000005", "1", "1000000000")))
RATIOS = tuple(map(Decimal, ("0", "0.1", "0.99999999", "1", "1.00000001", "1.1", "10", "1000000000000")))
LATENCIES = (0.0, 0.1, 20.0, 33.3, 33.300000000000004, 1e12)
PARALLEL = (1, 2, 4, 10_000)
LOADS = (0, 1, 3, 9_999, 10**6)
IDS = ("m", "m0", "m1", "m10", "m2", "M", "a.b", "a-b", "a:b", "a_b", "0", "z" * 64)
STEPS = (0.001, 0.5, 1.0, 30.0, 59.0, 60.0, 61.0, 119.0, 120.0, 121.0, 1000.0)


def some(values: tuple[str, ...], most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=most).map(tuple)


def one_or_none(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


@st.composite
def windows(draw: st.DrawFn) -> PriceWindow:
    starts = NOW + draw(st.sampled_from((-1000.0, 0.0, 30.0, 60.0, 61.0, 500.0)))
    lasts = draw(st.sampled_from((0.5, 30.0, 60.0, 1000.0, math.inf)))
    return PriceWindow(draw(st.sampled_from(PRICES)), starts, starts + lasts)


PROFILES = st.fixed_dictionaries(
    {},
    optional={
        "session": st.sampled_from([int((NOW + after) * 1e6) for after in (-50, 0, 50, 200)]),
        "proto": st.sampled_from(PROTOS),
        "gpu_name": st.sampled_from(GPUS),
        "gpu_vram": st.sampled_from(VRAM),
        "gpu_count": st.sampled_from(COUNTS),
        "cpu_cores": st.sampled_from(COUNTS),
        "ram_gb": st.sampled_from(VRAM),
        "price": st.sampled_from(PRICES),
        "price_cap": one_or_none(PRICES),
        "overrides": st.lists(windows(), max_size=3).map(tuple),
        "max_parallel": st.sampled_from(PARALLEL),
        "region": st.sampled_from(REGIONS),
        "accel": some(ACCELS),
        "tags": some(TAGS),
        "capabilities": some(CAPABILITIES),
        "draining": st.booleans(),
        "operator_drain": st.booleans(),
        "disabled": st.booleans(),
        "logged_out": st.booleans(),
        "trust_s": st.sampled_from((0.0, 1.0, 2.0, 10.0, 1e6)),
        "trust_f": st.sampled_from((0.0, 0.25, 2.0, 10.0)),
        "trust_at": st.sampled_from((0.0, NOW - 1000, NOW, NOW + 5)),
        "latency_mean": st.sampled_from(LATENCIES),
        "latency_count": st.sampled_from((0, 4, 5, 100)),
        "attested_until": st.sampled_from((0.0, NOW, NOW + 60)),
    },
).map(lambda fields: fields if "latency_mean" in fields else {**fields, "latency_count": 0})

REPORTS = st.fixed_dictionaries(
    {},
    optional={
        "ts": st.sampled_from((NOW - 10, NOW, NOW + 1, NOW + 50)),
        "queue_len": st.sampled_from(LOADS),
        "busy": st.booleans(),
        "jobs": st.sampled_from(LOADS),
        "latency_ms": st.sampled_from((*LATENCIES, math.nan)),
        "temp_c": st.sampled_from((-100.0, 40.5, math.nan)),
        "mem_free_gb": st.sampled_from((*VRAM, math.nan)),
    },
)

ROUND_TRIPS = st.dictionaries(
    st.sampled_from(list(combinations(("", "eu", "eu-west", "eu-west-1", "europe", "us", "us-east", "asia"), 2))),
    st.sampled_from((0.0, 0.1, 80.0, 150.0, 299.0, 300.0, 5000.0)),
)


@st.composite
def entries(draw: st.DrawFn) -> MarketEntry:
    prices = sorted(draw(st.lists(st.sampled_from(PRICES), min_size=1, max_size=5)))
    return MarketEntry("model", "region", prices[len(prices) // 2], tuple(prices))


MARKETS = st.dictionaries(
    st.tuples(st.sampled_from([each.lower() for each in GPUS]), st.sampled_from(REGIONS)), entries(), max_size=12
)

WEIGHTS = (DEFAULT_WEIGHTS, Weights(price=1), Weights(load=2), Weights(cap=1, trust=1), Weights(latency=3, price=1e12))

QUERIES = st.builds(
    Query,
    min_vram_gb=one_or_none((*VRAM, 8.25, 1e12)),
    min_ram_gb=one_or_none((*VRAM, 0.1)),
    min_gpu_count=one_or_none((*COUNTS, 3)),
    min_cpu_cores=one_or_none(COUNTS),
    min_mem_free_gb=one_or_none(VRAM),
    gpu_models=some(("h100", "RTX", "4090", "", "zz"), 2),
    proto_any=some((*PROTOS, "https"), 2),
    accel=some((*ACCELS, "tpu"), 2),
    tags_any=some((*TAGS, "nobody's"), 2),
    capabilities_any=some((*CAPABILITIES, "nobody's"), 4),
    capabilities_all=some((*CAPABILITIES, "nobody's"), 2),
    exclude_miners=some((*IDS, "nobody"), 2),
    attested=st.booleans(),
    min_trust=one_or_none((0.0, 0.3, 0.5, 0.6, 1.0)),
    region=one_or_none((*REGIONS, "eu-", "asia")),
    max_price=one_or_none(LIMITS),
    max_price_vs_market=one_or_none(RATIOS),
    deadline_ms=one_or_none((0.0, 20.0, 40.0, 5000.0, 1e12)),
    spillover=st.booleans(),
    weights=st.sampled_from(WEIGHTS),
    top_k=st.sampled_from((1, 2, 5, 8, 50)),
    full=st.booleans(),
)


@st.composite
def sparing(draw: st.DrawFn) -> Query:
    """A query of which most constraints are left out, so that somebody is eligible."""
    full = draw(QUERIES)
    kept = draw(st.sets(st.sampled_from(Query.__slots__), max_size=5)) | {"weights", "top_k", "full"}
    return Query(**{name: getattr(full, name) for name in kept})


def random_query(random: Random, model: ModelRegistry) -> Query:
    """A query that names a few constraints, with limits taken from the miners there are: many at the very edge."""
    miners = list(model.miners.values())
    some_miner = random.choice(miners) if miners else ModelMiner(row())
    held = some_miner.row
    choices: dict[str, Any] = {
        "min_vram_gb": random.choice((held.gpu_vram, held.gpu_vram + 0.25)),
        "min_ram_gb": held.ram_gb,
        "min_gpu_count": float(held.gpu_count),
        "min_cpu_cores": float(held.cpu_cores),
        "min_mem_free_gb": some_miner.mem_free_gb,
        "gpu_models": (held.gpu_name[-4:], random.choice(GPUS)),
        "proto_any": (held.proto,),
        "accel": held.accel[:1],
        "region": random.choice((held.region, held.region.partition("-")[0])),
        "tags_any": held.tags[:1],
        "capabilities_any": tuple(random.sample(CAPABILITIES, random.randrange(1, 5))),
        "capabilities_all": held.capabilities[:2],
        "exclude_miners": (held.miner_id,),
        "min_trust": random.choice((0.3, 0.5, 0.6)),
        "max_price": Decimal(random.choice((held.price, *PRICES))) / UNITS,
        "max_price_vs_market": random.choice(RATIOS),
        "deadline_ms": random.choice((some_miner.eta_ms, 20.0, 40.0)),
        "attested": True,
        "spillover": True,
    }
    named = random.sample(sorted(choices), random.choice((0, 1, 1, 2, 3, 6)))
    return Query(
        **{name: choices[name] for name in named},
        top_k=random.choice((1, 3, 8)),
        full=random.random() < 0.3,
        weights=random.choice(WEIGHTS),
    )


def crowd(seed: int, count: int, alike: bool, version: int, now: float) -> list[tuple[MinerRow, LiveStatus]]:
    """Many miners at once: all alike but for id and price, or spread over every pool and many vram values."""
    random = Random(seed)
    made = []
    for _ in range(count):
        fields: dict[str, Any] = {"price": random.choice(PRICES)}
        live = LiveStatus(last_seen=now)
        if not alike:
            fields.update(
                gpu_vram=random.choice(VRAM) + random.randrange(200) / 2,
                ram_gb=random.choice(VRAM),
                cpu_cores=random.choice(COUNTS),
                region=random.choice(REGIONS),
                gpu_name=random.choice(GPUS),
                proto=random.choice(PROTOS),
                max_parallel=random.choice(PARALLEL),
                accel=tuple(random.sample(ACCELS, random.randrange(3))),
                capabilities=tuple(each for i, each in enumerate(CAPABILITIES) if random.random() < 0.9 / (i + 1)),
                trust_s=random.choice((0.0, 2.0, 7.0)),
                trust_at=NOW - 100,
            )
            live = LiveStatus(
                last_seen=now - random.choice((0.0, 0.0, 59.0, 61.0, 119.0, 121.0)),
                ts=random.choice((None, NOW)),
                queue_len=random.choice(LOADS[:3]),
                latency_ms=random.choice((None, *LATENCIES)),
                mem_free_gb=random.choice((None, *VRAM)),
            )
        made.append((row(f"m{random.randrange(10**4)}", version=version, **fields), live))
    return made
