"""What a match asks and what it answers: plain, frozen data across the seam."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from miners.registry.records import PriceSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of the score's five components; only their proportions matter. ValueError where they weigh nothing."""

    cap: float = 0.0
    price: float = 0.0
    latency: float = 0.0
    trust: float = 0.0
    load: float = 0.0

    def __post_init__(self) -> None:
        values = (self.cap, self.price, self.latency, self.trust, self.load)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError("weights are finite and not negative")
        if not any(values):
            raise ValueError("at least one weight is above 0")


DEFAULT_WEIGHTS = Weights(cap=0.40, price=0.20, latency=0.20, trust=0.15, load=0.05)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Requirements and hints of one match. None, an empty tuple and False constrain nothing."""

    min_vram_gb: float | None = None
    min_ram_gb: float | None = None
    min_gpu_count: float | None = None
    min_cpu_cores: float | None = None
    min_mem_free_gb: float | None = None
    gpu_models: tuple[str, ...] = ()
    proto_any: tuple[str, ...] = ()
    accel: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    capabilities_any: tuple[str, ...] = ()
    capabilities_all: tuple[str, ...] = ()
    exclude_miners: tuple[str, ...] = ()
    attested: bool = False
    min_trust: float | None = None
    region: str | None = None
    max_price: Decimal | None = None  # tokens per 1,000 s
    max_price_vs_market: Decimal | None = None  # times the median of the miner's GPU where it is
    deadline_ms: float | None = None
    spillover: bool = False  # region is a preference, not a constraint
    weights: Weights = DEFAULT_WEIGHTS
    top_k: int = 1
    full: bool = False  # with relaxations


class Components(msgspec.Struct, frozen=True):
    """Each in [0, 1], to 6 places; higher is better."""

    cap: float
    price: float
    latency: float
    trust: float
    load: float


class Candidate(msgspec.Struct, frozen=True):  # ten times faster to make than a frozen dataclass
    miner_id: str
    addr: str
    proto: str
    score: float  # [0, 1], to 6 places
    eta_ms: int | None
    price: float  # effective, tokens per 1,000 s
    region: str
    gpu_name: str
    components: Components
    explain: str
    room: int  # max_parallel - occupied at scoring
    price_units: int  # the price exactly, units of 1e-8 tokens
    price_source: PriceSource


@dataclass(frozen=True, slots=True)
class Relaxation:
    """What dropping one constraint alone would let in."""

    constraint: str
    asked: Any
    adds: int
    relax_to: float | None  # numeric constraints: the nearest value that lets one more miner in


@dataclass(frozen=True, slots=True)
class MatchResult:
    candidates: list[Candidate]
    explain: str
    considered: int
    eligible: int
    rejected: dict[str, int]  # by the first constraint failed, in the order of constraints
    relaxations: list[Relaxation] | None


@dataclass(frozen=True, slots=True)
class Failure:
    constraint: str
    asked: Any
    actual: Any
    transient: bool  # waiting can cure it


@dataclass(frozen=True, slots=True)
class WhyNot:
    miner_id: str
    eligible: bool
    rank: int | None  # from 1, over all eligible
    failed: list[Failure]
