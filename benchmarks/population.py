"""One population of miners, the same for every engine: from a seed, in columns, so that a million of them fit.

Sizes and shares are those of a mixed public pool: consumer and data-centre GPUs in twelve regions, 2,000 capabilities
whose popularity falls as 1/rank (Zipf), a few miners full, late, offline, draining or disabled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miners.registry.prices import UNITS
from miners.registry.records import LiveStatus, MinerRow, PriceWindow

NOW = 1_800_000_000.0
SESSION_TTL_S, GRACE_S, HALF_LIFE_S = 60.0, 120.0, 30 * 86_400.0
HEARTBEAT_S = 20.0
OBSERVED_FROM = 5  # the hub's own latency counts from so many measurements on (contract, section 4)

GPUS = (  # name, GB, accelerators, share, tokens per 1,000 s
    ("NVIDIA GeForce RTX 3060", 12, ("cuda", "vulkan"), 14, 0.20),
    ("NVIDIA GeForce RTX 3070", 8, ("cuda", "vulkan"), 11, 0.22),
    ("NVIDIA GeForce RTX 3080", 10, ("cuda", "vulkan"), 11, 0.30),
    ("NVIDIA GeForce RTX 3090", 24, ("cuda", "vulkan"), 14, 0.42),
    ("NVIDIA GeForce GTX 1660", 6, ("cuda", "vulkan"), 6, 0.10),
    ("NVIDIA GeForce RTX 4090", 24, ("cuda", "vulkan"), 16, 0.60),
    ("NVIDIA RTX A6000", 48, ("cuda", "vulkan"), 5, 0.85),
    ("NVIDIA A100 80GB", 80, ("cuda",), 6, 1.60),
    ("NVIDIA H100 80GB", 80, ("cuda",), 4, 2.80),
    ("AMD Radeon RX 7900 XTX", 24, ("rocm", "vulkan"), 7, 0.38),
    ("AMD Instinct MI300X", 192, ("rocm",), 1, 2.50),
    ("Apple M2 Ultra", 64, ("metal",), 5, 0.35),
)
REGIONS = (
    ("eu-west", 18), ("eu-central", 14), ("eu-north", 5), ("us-east", 17), ("us-west", 13), ("us-central", 6),
    ("ap-east", 9), ("ap-south", 6), ("ap-northeast", 5), ("sa-east", 3), ("af-south", 2), ("", 2),
)  # fmt: skip
TAGS = ("low-latency", "eco", "nvlink", "ipv6", "batch", "spot", "kyc", "docker", "tor", "fp8", "int4", "shared")
TAG_SHARE = 0.15  # of miners that carry a given tag
PROTOS = ("grpc", "http", "https", "ws")
CAPABILITIES = 2_000


def capability(code: int) -> str:
    """The name of the code-th most popular one."""
    return f"models/family-{code % 40}/model-{code}"


def capability_code(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def miner_id(index: int) -> str:
    """Unique, and in no order: multiplication by an odd number permutes 2**32."""
    return f"miner-{index * 2_654_435_761 % 2**32:08x}"


def _addr(index: int) -> str:
    return f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}:9000"


@dataclass(frozen=True, slots=True)
class Lists:
    """Codes of many miners end to end: miner i has codes[starts[i] : starts[i + 1]]."""

    starts: NDArray[np.int64]
    codes: NDArray[np.int32]

    def of(self, index: int) -> list[int]:
        result: list[int] = self.codes[self.starts[index] : self.starts[index + 1]].tolist()
        return result

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(code, miner), sorted."""
        miners = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        order = np.lexsort((miners, self.codes))
        return zip(self.codes[order].tolist(), miners[order].tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class Population:
    """One array a field, one element a miner. nan = unknown."""

    size: int
    seed: int
    gpu: NDArray[np.int64]
    region: NDArray[np.int64]
    proto: NDArray[np.int64]
    gpu_count: NDArray[np.int64]
    cpu_cores: NDArray[np.int64]
    ram_gb: NDArray[np.int64]
    price: NDArray[np.int64]  # 1e-8 tokens per 1,000 s
    price_cap: NDArray[np.int64]  # -1 = none
    override: NDArray[np.int64]  # -1 = none
    max_parallel: NDArray[np.int64]
    queue_len: NDArray[np.int64]
    reported_latency: NDArray[np.float64]  # ms
    latency_mean: NDArray[np.float64]  # ms
    latency_count: NDArray[np.int64]
    trust_s: NDArray[np.float64]
    trust_f: NDArray[np.float64]
    trust_at: NDArray[np.float64]  # epoch seconds
    last_seen: NDArray[np.float64]  # epoch seconds
    mem_free_gb: NDArray[np.float64]
    disabled: NDArray[np.bool_]
    draining: NDArray[np.bool_]
    tags: Lists
    capabilities: Lists

    @property
    def vram_gb(self) -> NDArray[np.int64]:
        return np.array([gb for _, gb, *_ in GPUS])[self.gpu]

    def rows(self) -> Iterator[tuple[MinerRow, LiveStatus]]:
        """Each miner as the registry loads it."""
        for i in range(self.size):
            yield self._row(i), self._live(i)

    def _row(self, i: int) -> MinerRow:
        name, vram, accel, _, _ = GPUS[self.gpu[i]]
        override, cap = int(self.override[i]), int(self.price_cap[i])
        return MinerRow(
            miner_id=miner_id(i),
            version=1,
            session=1,
            key_tag=i,
            addr=_addr(i),
            proto=PROTOS[self.proto[i]],
            gpu_name=name,
            gpu_vram=float(vram),
            gpu_count=int(self.gpu_count[i]),
            cpu_cores=int(self.cpu_cores[i]),
            ram_gb=float(self.ram_gb[i]),
            price=int(self.price[i]),
            price_cap=None if cap < 0 else cap,
            overrides=() if override < 0 else (PriceWindow(override, 0.0, math.inf),),
            max_parallel=int(self.max_parallel[i]),
            region=REGIONS[self.region[i]][0],
            accel=accel,
            tags=tuple(TAGS[code] for code in self.tags.of(i)),
            capabilities=tuple(capability(code) for code in self.capabilities.of(i)),
            draining=bool(self.draining[i]),
            operator_drain=False,
            disabled=bool(self.disabled[i]),
            logged_out=False,
            trust_s=float(self.trust_s[i]),
            trust_f=float(self.trust_f[i]),
            trust_at=float(self.trust_at[i]),
            latency_mean=float(self.latency_mean[i]),
            latency_count=int(self.latency_count[i]),
        )

    def _live(self, i: int) -> LiveStatus:
        latency = float(self.reported_latency[i])
        return LiveStatus(
            last_seen=float(self.last_seen[i]),
            queue_len=int(self.queue_len[i]),
            foreign=int(self.queue_len[i]),
            latency_ms=None if math.isnan(latency) else latency,
            mem_free_gb=float(self.mem_free_gb[i]),
        )


def population(size: int, seed: int) -> Population:
    draw = np.random.default_rng(seed)
    gpu = draw.choice(len(GPUS), size, p=_shares(GPUS, 3))
    base = np.array([price for *_, price in GPUS])[gpu]
    price = np.rint(base * draw.lognormal(0, 0.25, size) * UNITS / 1e5).astype(np.int64) * 100_000  # 3 places
    region = draw.choice(len(REGIONS), size, p=_shares(REGIONS, 1))
    latency = np.round(draw.lognormal(4.4, 0.6, size) + 10 * region, 1)
    max_parallel = draw.choice([1, 2, 4, 8], size, p=[0.35, 0.30, 0.25, 0.10])
    vram = np.array([gb for _, gb, *_ in GPUS])[gpu]
    known = draw.random(size)
    age = draw.uniform(0, HEARTBEAT_S, size)
    age = np.where(known < 0.02, draw.uniform(SESSION_TTL_S + 5, GRACE_S - 5, size), age)  # degraded
    age = np.where(known < 0.01, draw.uniform(GRACE_S + 5, 86_400, size), age)  # offline
    return Population(
        size=size,
        seed=seed,
        gpu=gpu,
        region=region,
        proto=draw.integers(len(PROTOS), size=size),
        gpu_count=draw.choice([1, 2, 4, 8], size, p=[0.70, 0.15, 0.08, 0.07]),
        cpu_cores=draw.choice([4, 8, 16, 32, 64], size),
        ram_gb=draw.choice([16, 32, 64, 128, 256], size),
        price=price,
        price_cap=np.where(draw.random(size) < 0.02, price * 9 // 10, -1),
        override=np.where(draw.random(size) < 0.01, price * 11 // 10, -1),
        max_parallel=max_parallel,
        queue_len=draw.binomial(max_parallel, 0.35),
        reported_latency=np.where(draw.random(size) < 0.04, np.nan, latency),
        latency_mean=np.round(latency * draw.uniform(0.9, 1.3, size), 2),
        latency_count=draw.poisson(4, size),
        trust_s=draw.gamma(1.0, 8.0, size) * (draw.random(size) < 0.8),
        trust_f=draw.gamma(0.5, 2.0, size) * (draw.random(size) < 0.5),
        trust_at=NOW - draw.exponential(5 * 86_400.0, size),
        last_seen=NOW - age,
        mem_free_gb=np.round(vram * draw.uniform(0.2, 1.0, size), 1),
        disabled=draw.random(size) < 0.01,
        draining=draw.random(size) < 0.02,
        tags=_draw_tags(draw, size),
        capabilities=_draw_capabilities(draw, size),
    )


def _shares(table: tuple[tuple[Any, ...], ...], column: int) -> NDArray[np.float64]:
    shares = np.array([row[column] for row in table], np.float64)
    result: NDArray[np.float64] = shares / shares.sum()
    return result


def _draw_tags(draw: np.random.Generator, size: int) -> Lists:
    miners, codes = np.nonzero(draw.random((size, len(TAGS)), np.float32) < TAG_SHARE)
    return _lists(miners, codes, size)


def _draw_capabilities(draw: np.random.Generator, size: int) -> Lists:
    """1 to 32 draws a miner, 8 on average; a capability drawn twice counts once."""
    popularity = 1 / np.arange(1, CAPABILITIES + 1)
    counts = np.clip(1 + draw.poisson(7, size), 1, 32)
    miners = np.repeat(np.arange(size), counts)
    codes = draw.choice(CAPABILITIES, len(miners), p=popularity / popularity.sum())
    distinct = np.unique(miners * CAPABILITIES + codes)
    return _lists(distinct // CAPABILITIES, distinct % CAPABILITIES, size)


def _lists(miners: NDArray[np.int64], codes: NDArray[np.int64], size: int) -> Lists:
    """From (miner, code) pairs that are sorted by miner."""
    return Lists(np.searchsorted(miners, np.arange(size + 1)), codes.astype(np.int32))
