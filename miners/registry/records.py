"""What goes into the registry and what comes out of it: plain, frozen data across the seam."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from msgspec import Struct

from miners.registry.market import MarketPosition


class State(StrEnum):
    """A miner's state as people see it (contract, section 3); where several hold, the first of these is shown."""

    DISABLED = "disabled"
    OFFLINE = "offline"
    DRAINING = "draining"
    DEGRADED = "degraded"
    ONLINE = "online"


class PriceSource(StrEnum):
    OWN = "own"
    OVERRIDE = "override"
    CAP = "cap"


@dataclass(frozen=True, slots=True)
class PriceWindow:
    """One price override, as far as matching needs it."""

    price: int  # units of 1e-8 tokens per 1,000 s
    starts_at: float  # epoch seconds
    ends_at: float  # epoch seconds, inf = open


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """Values that an issuer vouches for; None = it says nothing of it. The names are those of MinerRow."""

    gpu_name: str | None = None
    gpu_vram: float | None = None
    gpu_count: int | None = None
    cpu_cores: int | None = None
    ram_gb: float | None = None
    region: str | None = None
    accel: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None

    def values(self) -> dict[str, Any]:
        """Those that are there."""
        return {name: value for name in ATTESTABLE if (value := getattr(self, name)) is not None}


ATTESTABLE = tuple(field.name for field in fields(Attested))
NOTHING_ATTESTED = Attested()


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerRow:
    """Everything durable about one miner as of one row version; its values are those that the miner claims.

    The whole row travels, never a part of it: applying it is idempotent, and the newest version wins.
    """

    miner_id: str
    version: int
    session: int  # 0 = never had one
    key_tag: int  # first 8 bytes of the keyed hash of its api key, unsigned
    addr: str
    proto: str
    gpu_name: str
    gpu_vram: float  # GB of one GPU
    gpu_count: int
    cpu_cores: int
    ram_gb: float
    price: int  # units of 1e-8 tokens per 1,000 s
    price_cap: int | None
    overrides: tuple[PriceWindow, ...]  # newest first
    max_parallel: int
    region: str
    accel: tuple[str, ...]
    tags: tuple[str, ...]
    capabilities: tuple[str, ...]
    draining: bool  # the miner's own word
    operator_drain: bool
    disabled: bool
    logged_out: bool
    trust_s: float  # Beta counts as of trust_at
    trust_f: float
    trust_at: float  # epoch seconds
    latency_mean: float | None  # ms, the hub's own measurements
    latency_count: int
    attested: Attested = NOTHING_ATTESTED  # wins over what is claimed until attested_until
    attested_until: float = 0.0  # epoch seconds
    pk: int = 0  # primary key in the database, 0 = none: given once, never again

    def covered(self) -> "MinerRow":
        """With the attested values in place of the claimed ones."""
        return replace(self, **self.attested.values())


class Report(Struct, frozen=True, kw_only=True):
    """One heartbeat or update. None = not named, so left as it is; nan = reported as unknown.

    A Struct: there is one for every heartbeat, and a frozen dataclass takes five times as long to make.
    """

    at: float  # hub time, epoch seconds
    ts: float | None = None  # the miner's own time, where it may order its messages
    queue_len: int | None = None
    busy: bool | None = None
    jobs: int | None = None
    latency_ms: float | None = None
    temp_c: float | None = None
    mem_free_gb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """What a miner last reported, and what the hub knows of its load. None = unknown."""

    last_seen: float
    reported_at: float | None = None  # of what follows; None = last_seen
    ts: float | None = None
    queue_len: int = 0
    busy: bool = False
    jobs: int = 0
    foreign: int = 0
    own: int = 0
    latency_ms: float | None = None
    temp_c: float | None = None
    mem_free_gb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerView:
    """One miner as the listing shows it."""

    row: MinerRow
    live: LiveStatus
    state: State
    price: int  # effective, units of 1e-8 tokens
    price_source: PriceSource
    trust: float  # forgotten up to now
    lease_expires_at: float
    reservations: int = field(default=0)  # live reservations and holds
    market: MarketPosition | None = None
