"""The registry's columns: one table names each with its type, unit, default and meaning; all else derives from it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Column(NamedTuple):
    name: str
    dtype: str
    default: float
    meaning: str


WIDE = 2**32 - 1
NAN = float("nan")
INF = float("inf")

COLUMNS = (
    # durable, from MinerRow
    Column("pk", "i8", 0, "primary key in the database; 0 = none"),
    Column("version", "i8", 0, "row version held"),
    Column("session", "i8", 0, "session number of the live token"),
    Column("key_tag", "u8", 0, "first 8 bytes of the keyed hash of the api key"),
    Column("gpu_vram", "f8", 0, "GB of one GPU"),
    Column("ram_gb", "f8", 0, "GB"),
    Column("gpu_count", "u4", 0, "GPUs"),
    Column("cpu_cores", "u4", 0, "cores"),
    Column("own_price", "i8", 0, "the miner's own price, 1e-8 tokens"),
    Column("price_cap", "i8", -1, "operator's cap, 1e-8 tokens; -1 = none"),
    Column("max_parallel", "u2", 1, "slots"),
    Column("region", "u4", 0, "term code of the region"),
    Column("trust_s", "f8", 0, "successes as of trust_at"),
    Column("trust_f", "f8", 0, "failures as of trust_at"),
    Column("trust_at", "f8", 0, "epoch seconds"),
    Column("latency_mean", "f8", NAN, "ms, measured by the hub"),
    Column("latency_count", "u4", 0, "measurements behind latency_mean"),
    Column("attested_until", "f8", 0, "epoch seconds"),
    Column("drains", "u1", 0, "1 = the miner's own word, 2 = the operator's"),
    # live, from reports and the ledger
    Column("last_seen", "f8", -INF, "last contact, epoch seconds of the hub"),
    Column("ts", "f8", -INF, "newest ordering ts of the miner's own clock, epoch seconds"),
    Column("since", "f8", -INF, "when the session began, epoch seconds: earlier reports count for nothing"),
    Column("queue_len", "u4", 0, "reported jobs waiting"),
    Column("jobs", "u4", 0, "reported current jobs"),
    Column("busy", "u1", 0, "1 = reported busy"),
    Column("foreign", "u4", 0, "occupied slots that the ledger does not explain"),
    Column("own", "u4", 0, "live reservations and holds"),
    Column("own_then", "u4", 0, "own at the time of the newest load report"),
    Column("reported_latency", "f8", NAN, "ms"),
    Column("temp_c", "f4", NAN, "degrees Celsius"),
    Column("mem_free_gb", "f8", NAN, "GB"),
    # the time of what a field holds, epoch seconds
    Column("ts_at", "f8", -INF, "of ts"),
    Column("queue_len_at", "f8", -INF, "of queue_len"),
    Column("jobs_at", "f8", -INF, "of jobs"),
    Column("busy_at", "f8", -INF, "of busy"),
    Column("reported_latency_at", "f8", -INF, "of reported_latency"),
    Column("temp_c_at", "f8", -INF, "of temp_c"),
    Column("mem_free_gb_at", "f8", -INF, "of mem_free_gb"),
    # derived
    Column("price", "i8", 0, "effective price, 1e-8 tokens"),
    Column("price_source", "u1", 0, "index into PRICE_SOURCES"),
    Column("market", "u4", 0, "number of the market's entry for its GPU and region; 0 = none"),
    Column("latency", "f8", NAN, "effective latency, ms"),
    Column("latency_score", "f8", 0.5, "1 - r/n within the region; 0.5 = unknown"),
    Column("eta_ms", "f8", -1, "round(latency x (1 + occupied / max_parallel)); -1 = unknown"),
    Column("id_order", "i8", 0, "orders as miner_id does by code point"),
    Column("generation", "u4", 0, "how often the slot was given away"),
    # copies of half the bytes for filters that scan; a limit of WIDE or more is compared with the original
    Column("u_price", "u4", 0, "min(price, WIDE)"),
    Column("u_eta", "u4", 0, "min(eta_ms, WIDE); 0 = unknown, which is within any deadline"),
    # single-precision copies for the first, rough scoring pass; each is a row of `rough`
    Column("f_latency", "f4", 0.5, "latency_score"),
    Column("f_trust", "f4", 0.5, "trust, a little stale"),
    Column("f_load", "f4", 0, "f / (f + 1)"),
    Column("f_price", "f4", 0, "effective price, tokens"),
    Column("f_merit", "f4", 0.175, "what the first three are worth together under the default weights"),
    Column("f_state", "f4", 1, "0.5 where degraded"),
)

ROUGH = tuple(column.name for column in COLUMNS if column.name.startswith("f_"))
MERIT_WEIGHTS = (0.20, 0.15, 0.05)  # default weights of latency, trust and load (contract, section 4)
SEGMENT_BITS = 12  # slots are copied in segments of 4,096
KEPT_OVER_REUSE = frozenset({"generation"})


class Columns:
    """One array a column, all of the same capacity; objects (ids, addresses, term codes) in lists beside them."""

    pk: NDArray[np.int64]
    version: NDArray[np.int64]
    session: NDArray[np.int64]
    key_tag: NDArray[np.uint64]
    gpu_vram: NDArray[np.float64]
    ram_gb: NDArray[np.float64]
    gpu_count: NDArray[np.uint32]
    cpu_cores: NDArray[np.uint32]
    own_price: NDArray[np.int64]
    price_cap: NDArray[np.int64]
    max_parallel: NDArray[np.uint16]
    region: NDArray[np.uint32]
    trust_s: NDArray[np.float64]
    trust_f: NDArray[np.float64]
    trust_at: NDArray[np.float64]
    latency_mean: NDArray[np.float64]
    latency_count: NDArray[np.uint32]
    attested_until: NDArray[np.float64]
    drains: NDArray[np.uint8]
    last_seen: NDArray[np.float64]
    ts: NDArray[np.float64]
    since: NDArray[np.float64]
    queue_len: NDArray[np.uint32]
    jobs: NDArray[np.uint32]
    busy: NDArray[np.uint8]
    foreign: NDArray[np.uint32]
    own: NDArray[np.uint32]
    own_then: NDArray[np.uint32]
    reported_latency: NDArray[np.float64]
    temp_c: NDArray[np.float32]
    mem_free_gb: NDArray[np.float64]
    ts_at: NDArray[np.float64]
    queue_len_at: NDArray[np.float64]
    jobs_at: NDArray[np.float64]
    busy_at: NDArray[np.float64]
    reported_latency_at: NDArray[np.float64]
    temp_c_at: NDArray[np.float64]
    mem_free_gb_at: NDArray[np.float64]
    price: NDArray[np.int64]
    price_source: NDArray[np.uint8]
    market: NDArray[np.uint32]
    latency: NDArray[np.float64]
    latency_score: NDArray[np.float64]
    eta_ms: NDArray[np.float64]
    u_price: NDArray[np.uint32]
    u_eta: NDArray[np.uint32]
    id_order: NDArray[np.int64]
    generation: NDArray[np.uint32]
    rough: NDArray[np.float32]  # shape (len(ROUGH), capacity): one product scores a block of miners
    f_price: NDArray[np.float32]
    f_latency: NDArray[np.float32]
    f_trust: NDArray[np.float32]
    f_load: NDArray[np.float32]
    f_state: NDArray[np.float32]
    f_merit: NDArray[np.float32]

    def __init__(self, capacity: int) -> None:
        self.capacity = 0
        for column in COLUMNS:
            setattr(self, column.name, np.zeros(0, column.dtype))
        self.grow(capacity)

    def grow(self, capacity: int) -> None:
        self.rough = np.zeros((len(ROUGH), capacity), np.float32)
        rough = dict(zip(ROUGH, self.rough, strict=True))
        for column in COLUMNS:
            old: NDArray[Any] = getattr(self, column.name)
            new = rough[column.name] if column.name in rough else np.zeros(capacity, column.dtype)
            new[: self.capacity] = old
            if column.default:  # pages of zeros stay untouched
                new[self.capacity :] = column.default
            setattr(self, column.name, new)
        self.capacity = capacity

    def clear(self, slot: int) -> None:
        for column in COLUMNS:
            if column.name not in KEPT_OVER_REUSE:
                getattr(self, column.name)[slot] = column.default

    def settle_merit(self, rows: int | slice | NDArray[np.intp]) -> None:
        """Bring f_merit in step with what it is made of."""
        latency, trust, load = MERIT_WEIGHTS
        self.f_merit[rows] = latency * self.f_latency[rows] + trust * self.f_trust[rows] + load * self.f_load[rows]

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, column.name).nbytes for column in COLUMNS)
