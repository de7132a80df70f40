"""Bodies of requests and answers about miners, as the contract's section 3 has them."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from miners import limits
from poolhub.common.fields import (
    MAX_COUNT,
    MAX_NUMBER,
    SAFE,
    Capabilities,
    Celsius,
    Count,
    JobId,
    MemoryGB,
    MinerId,
    Number,
    Price,
    Region,
    Tags,
    Text,
    Word,
)
from poolhub.common.schema import also, ref

ApiKey = Annotated[str, Meta(min_length=limits.MIN_KEY, max_length=limits.MAX_KEY)]
Addr = Annotated[str, Meta(min_length=1, max_length=limits.MAX_ADDR), SAFE]
SafeText = Annotated[Text, SAFE]
SafeRegion = Annotated[Region, SAFE]
TagValue = Annotated[str, SAFE] | int | float | bool | None
TagObject = Annotated[dict[Annotated[str, SAFE], TagValue], Meta(max_length=limits.MAX_TAGS)]
Jobs = list[JobId]
Proto = Literal["grpc", "http", "https", "ws", "wss"]

MemoryMB = Annotated[float, Meta(ge=0, le=MAX_COUNT * 1024)]

UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"

# -1 = not measured; reports refuses what is between
# round-trip times that the miner measured, ms, by region
Probes = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=limits.MAX_REGION)],
        Annotated[float, Meta(ge=0, le=limits.MAX_RTT_MS)],
    ],
    Meta(max_length=limits.MAX_PROBES),
]

MeasuredMs = Annotated[float, Meta(ge=-1, le=MAX_NUMBER, extra_json_schema={"anyOf": [{"const": -1}, {"minimum": 0}]})]


class RegisterRequest(Struct, kw_only=True):
    miner_id: MinerId
    api_key: ApiKey
    addr: Addr
    proto: Proto = "http"
    gpu_name: SafeText = ""
    gpu_vram: MemoryGB | None = None
    gpu_vram_gb: MemoryGB | None = None  # alias of gpu_vram
    gpu_count: Count = 1
    cpu_cores: Count = 0
    ram_gb: MemoryGB = 0.0
    price_token_per_ksec: Price | None = None
    base_price: Price | None = None  # alias of price_token_per_ksec
    max_parallel: Annotated[int, Meta(ge=1, le=limits.MAX_PARALLEL)] = 1
    region: SafeRegion = ""
    accel: Tags | None = None  # None = to be told from tags and capabilities
    tags: Tags | TagObject = []
    capabilities: Capabilities = []
    wallet_address: SafeText = ""


class RegisterAnswer(Struct, kw_only=True):
    status: Literal["online"] = "online"
    miner_id: str
    session_token: str
    session_ttl_sec: float
    lease_ttl_sec: float
    next_heartbeat_sec: float
    success: Literal[True] = True


class UpdateRequest(Struct, kw_only=True):
    queue_len: Count | None = None
    busy: bool | None = None
    current_jobs: Jobs | None = None
    avg_latency_ms: Number | None = None
    temp_c: Celsius | None = None
    mem_free_gb: MemoryGB | None = None
    price_token_per_ksec: Price | None = None
    tags: Tags | TagObject | None = None
    capabilities: Capabilities | None = None
    draining: bool | None = None
    session_token: str | None = None


class HeartbeatRequest(Struct, kw_only=True):
    """An update, or the body of today's AITBC client; where both forms say the same thing, the update's counts."""

    queue_len: Count | None = None
    busy: bool | None = None
    current_jobs: Count | Jobs | None = None  # a count is AITBC's form of queue_len
    avg_latency_ms: Number | None = None
    temp_c: Celsius | None = None
    mem_free_gb: MemoryGB | None = None
    price_token_per_ksec: Price | None = None
    tags: Tags | TagObject | None = None
    capabilities: Capabilities | None = None
    draining: bool | None = None
    session_token: str | None = None
    miner_id: MinerId | None = None  # which of several miners that share one key
    status: Word | None = None
    memory_used: MemoryMB | None = None
    memory_total: MemoryMB | None = None
    network_latency_ms: MeasuredMs | None = None
    probes: Probes | None = None


class TokenRequest(Struct, kw_only=True):
    session_token: str | None = None


class LeaseAnswer(Struct, kw_only=True):
    status: str
    lease_ttl_sec: float
    next_heartbeat_sec: float
    lease_expires_at: str


class ManifestRequest(Struct, kw_only=True):
    manifest: Annotated[str, Meta(min_length=1)]  # one that is too long has a reason of its own
    session_token: str | None = None


class AttestedAnswer(Struct, kw_only=True, omit_defaults=True):
    gpu_name: str | None = None
    gpu_vram: float | None = None
    gpu_count: int | None = None
    cpu_cores: int | None = None
    ram_gb: float | None = None
    region: str | None = None
    accel: list[str] | None = None
    capabilities: list[str] | None = None


class ManifestAnswer(Struct, kw_only=True):
    miner_id: str
    attested: Literal[True] = True
    attested_until: str
    issuer: str
    jti: str
    values: AttestedAnswer


class Heartbeat(Struct, kw_only=True):
    """miner → hub on the socket. ts stays text, so that the acknowledgement names it as it came."""

    ts: str
    queue_len: Count
    busy: bool | None = None
    current_jobs: Jobs | None = None
    avg_latency_ms: Number | None = None
    temp_c: Celsius | None = None
    mem_free_gb: MemoryGB | None = None
    probes: Probes | None = None
    ack: bool = False
    type: str | None = None


class SocketMessage(Struct):
    """Any message of a miner on the socket, as far as it says what it is."""

    type: str | None = None


class CommandAck(Struct, kw_only=True):
    """miner → hub on the socket: it has carried a command out, or could not."""

    id: Annotated[str, Meta(pattern=UUID_PATTERN)]
    ok: bool
    detail: Annotated[str, Meta(max_length=limits.MAX_DETAIL), SAFE] = ""


class LiveAnswer(Struct, kw_only=True):
    last_seen: str | None
    queue_len: int
    busy: bool
    current_jobs: int
    occupied: int
    avg_latency_ms: float | None
    temp_c: float | None
    mem_free_gb: float | None


class MarketAnswer(Struct, kw_only=True):
    """The effective price against the market of the miner's GPU where it is."""

    model: str
    region: str  # that the market price is of; "*" = all
    median: float
    ratio: float | None  # price / median
    percentile: float  # share of the market that is not dearer, 0 to 100
    far_off: Literal["low", "high"] | None  # under a quarter of the median, or over four times


class MinerAnswer(Struct, kw_only=True):
    miner_id: str
    state: str
    addr: str
    proto: str
    gpu_name: str
    gpu_vram: float
    gpu_count: int
    cpu_cores: int
    ram_gb: float
    max_parallel: int
    region: str
    accel: tuple[str, ...]
    tags: tuple[str, ...]
    capabilities: tuple[str, ...]
    wallet_address: str
    registered_at: str | None
    price_token_per_ksec: float  # the miner's own
    price: float  # effective
    price_source: Literal["own", "override", "cap"]
    price_cap: float | None
    market: MarketAnswer | None
    draining: bool
    operator_drain: bool
    disabled: bool
    attested_until: str | None
    claimed: AttestedAnswer  # what the miner claims of that which is attested
    trust: float
    measured_latency_ms: float | None
    lease_expires_at: str | None
    reservations: int
    live: LiveAnswer


class MinerPage(Struct, kw_only=True):
    results: list[MinerAnswer]
    next_cursor: str | None


class TagsArgs(Struct, kw_only=True):
    tags: Tags


class PriceCapArgs(Struct, kw_only=True):
    price: Price | None = None


class NoArgs(Struct):
    """Commands that take no arguments; what is sent along is ignored, as everywhere."""


COMMAND_ARGS: dict[str, type[Struct]] = {
    "update_tags": TagsArgs,
    "set_price_cap": PriceCapArgs,
    "drain": NoArgs,
    "resume": NoArgs,
    "reregister": NoArgs,
}

BY_NAME = [
    {"properties": {"name": {"const": "update_tags"}, "args": ref(TagsArgs)}, "required": ["args"]},
    {"properties": {"name": {"const": "set_price_cap"}, "args": {"anyOf": [ref(PriceCapArgs), {"type": "null"}]}}},
    {"properties": {"name": {"enum": [name for name, args in COMMAND_ARGS.items() if args is NoArgs]}}},
]


@also(TagsArgs, PriceCapArgs, anyOf=BY_NAME)
class CommandRequest(Struct, kw_only=True):
    name: Literal["update_tags", "set_price_cap", "drain", "resume", "reregister"]
    args: dict[str, Any] = {}


class CommandAnswer(Struct, kw_only=True):
    id: str
    name: str
    args: dict[str, Any]
    status: str
