"""Bodies of requests and answers about matches and reservations, as the contract's sections 4 and 6 have them."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from poolhub.common.fields import Count, Invalid, JobId, MemoryGB, MinerId, Number, Price, Ratio, Region, Share, Text
from poolhub.common.schema import REF, also

MAX_LIST = 256
MAX_EXCLUDED = 1000
MAX_TOP_K = 50
MAX_BATCH = 256
MIN_TTL_MS, DEFAULT_TTL_MS, MAX_TTL_MS = 1000, 30_000, 600_000

WEIGHTS = ("cap", "price", "latency", "trust", "load")

Texts = Annotated[list[Text], Meta(max_length=MAX_LIST)]
TtlMs = Annotated[int, Meta(ge=MIN_TTL_MS, le=MAX_TTL_MS)]


class Requirements(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    task: Text | None = None
    min_vram_gb: MemoryGB | None = None
    min_ram_gb: MemoryGB | None = None
    min_gpu_count: Count | None = None
    min_cpu_cores: Count | None = None
    min_mem_free_gb: MemoryGB | None = None
    min_trust: Share | None = None
    gpu_models: Texts | None = None
    proto_any: Texts | None = None
    accel: Texts | None = None
    tags_any: Texts | None = None
    capabilities_any: Texts | None = None
    capabilities_all: Texts | None = None
    exclude_miners: Annotated[list[Text], Meta(max_length=MAX_EXCLUDED)] | None = None
    attested: bool | None = None


@also(anyOf=[{"required": [name], "properties": {name: {"type": "number", "exclusiveMinimum": 0}}} for name in WEIGHTS])
class WeightsBody(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    cap: Number | None = None
    price: Number | None = None
    latency: Number | None = None
    trust: Number | None = None
    load: Number | None = None

    def __post_init__(self) -> None:
        if not any((self.cap, self.price, self.latency, self.trust, self.load)):
            raise Invalid("At least one weight must be above 0", code="out_of_range")


class Hints(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    region: Region | None = None
    max_price: Price | None = None
    max_price_vs_market: Ratio | None = None
    deadline_ms: Number | None = None
    weights: WeightsBody | None = None
    explain: Literal["short", "full"] | None = None
    spillover: bool | None = None


class MatchRequest(Struct, kw_only=True, omit_defaults=True):
    job_id: JobId
    requirements: Requirements | None = None
    hints: Hints | None = None
    top_k: Annotated[int, Meta(ge=1, le=MAX_TOP_K)] | None = None
    reserve: bool | None = None
    reservation_ttl_ms: TtlMs | None = None
    dry_run: bool | None = None


class StreamMessage(Struct):
    """What a message on the stream is, and the id that its answers name; the rest of a match or a subscription is a
    MatchRequest."""

    type: Text | None = None
    id: JobId | None = None


class WhyNotRequest(MatchRequest, kw_only=True, omit_defaults=True):
    miner_id: MinerId


class BatchRequest(Struct, kw_only=True):
    requests: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_BATCH)]


class BatchBody(Struct, kw_only=True):
    """BatchRequest as the schema shows it: each item is read on its own, so that a bad one spoils no other."""

    requests: Annotated[list[MatchRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class RenewRequest(Struct, kw_only=True):
    reservation_ttl_ms: TtlMs | None = None


class ComponentsAnswer(Struct):
    cap: float
    price: float
    latency: float
    trust: float
    load: float


class CandidateAnswer(Struct):
    miner_id: str
    addr: str
    proto: str
    score: float
    eta_ms: int | None
    price: float
    region: str
    gpu_name: str
    components: ComponentsAnswer
    explain: str
    hub: str | UnsetType = UNSET  # whose miner it is, where peer hubs were asked


class RelaxationAnswer(Struct):
    constraint: str
    asked: Any
    adds: int
    relax_to: float | UnsetType = UNSET  # numeric constraints alone


class StandingAnswer(Struct, kw_only=True):
    miner_id: str
    since: str
    considered: int  # matches
    eligible: int
    offered: int
    first: int
    rejected: dict[str, int]
    median_rank: int | None
    rank_percentile: float | None  # mean share of the other eligible miners that rank lower, 0 to 100
    lost_on_price: int
    price: float  # effective, now
    price_to_be_first: float | None
    surveys: int  # matches that were looked at; those that are counted stand for them all


class GrantAnswer(Struct):
    id: str
    miner_id: str
    expires_at: str


class PeerAnswer(Struct):
    """What became of asking a peer hub."""

    status: Literal["ok", "late", "failed", "refused", "resting"]
    took_ms: float
    eligible: int | UnsetType = UNSET
    considered: int | UnsetType = UNSET


class MatchAnswer(Struct, kw_only=True):
    job_id: str
    candidates: list[CandidateAnswer]
    explain: str
    considered: int
    eligible: int
    rejected: dict[str, int]
    relaxations: list[RelaxationAnswer] | UnsetType = UNSET
    reservation: GrantAnswer | UnsetType = UNSET
    peers: dict[str, PeerAnswer] | UnsetType = UNSET


class FailureAnswer(Struct):
    constraint: str
    asked: Any
    actual: Any
    transient: bool


class WhyNotAnswer(Struct, kw_only=True):
    miner_id: str
    eligible: bool
    rank: int | None
    failed: list[FailureAnswer]


# a union of two objects is more than a struct's field can say, so the schema gets it spelled out
RESULT_KINDS = [{"$ref": REF.format(name=name)} for name in ("MatchAnswer", "Problem")]
BatchResults = Annotated[list[Any], Meta(extra_json_schema={"items": {"anyOf": RESULT_KINDS}})]


class BatchAnswer(Struct, kw_only=True):
    """In the order of the requests, each answered or refused on its own."""

    results: BatchResults


class ReservationAnswer(Struct, kw_only=True):
    id: str
    job_id: str
    miner_id: str
    expires_at: str


class ReservationPage(Struct, kw_only=True):
    results: list[ReservationAnswer]
