"""A pool of mock miners as one finds them in the world; pure.

Guarantee: the same seed and places give the same miners, number by number, however many are asked for.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import TypeVar

from miners.seeding.hardware import CORES, MODELS, RAM_GB, Model, Tier, built_with
from miners.seeding.places import PLACES, Place
from miners.seeding.software import LEAST, OFFERS, can_run

T = TypeVar("T")

MAX_POPULATION = 1_000_000
PREFIX = "seed-"
SEED_ID = re.compile(rf"{PREFIX}[0-9]{{5,7}}")

# addresses that documentation owns (RFC 5737, RFC 2606): nobody is ever called by mistake
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
HOSTS = 254
FIRST_PORT = 1024
DOMAIN = "example"
NAMED_SHARE = 0.6  # miners with a host name; the others have a bare address

PROTOS = (("grpc", 0.45), ("https", 0.25), ("http", 0.20), ("wss", 0.07), ("ws", 0.03))
PRICE_SPREAD = 0.25  # sigma of the log-normal noise around the model's median
LATENCY_SPREAD = 0.35
HOME_DETOUR = 1.6  # a home line's latency over that of a data centre in the same place
LOW_LATENCY_MS = 40.0
LEAST_PRICE = Decimal("0.0001")
PEAK_HOUR = 15.0  # local time at which a miner is busiest


@dataclass(frozen=True, slots=True)
class MinerSpec:
    miner_id: str
    api_key: str
    addr: str
    proto: str
    gpu_name: str
    gpu_vram: float  # GB of one GPU
    gpu_count: int
    cpu_cores: int
    ram_gb: float
    price: Decimal  # tokens per 1,000 s
    max_parallel: int
    region: str
    accel: tuple[str, ...]
    tags: tuple[str, ...]
    capabilities: tuple[str, ...]
    wallet_address: str
    latency_ms: float  # its median
    busy_share: float  # mean share of max_parallel that works, in (0, 1)
    peak_hour: float  # UTC, of the busiest hour

    def body(self) -> dict[str, object]:
        """Of its registration, as JSON has it."""
        return {
            "miner_id": self.miner_id,
            "api_key": self.api_key,
            "addr": self.addr,
            "proto": self.proto,
            "gpu_name": self.gpu_name,
            "gpu_vram": self.gpu_vram,
            "gpu_count": self.gpu_count,
            "cpu_cores": self.cpu_cores,
            "ram_gb": self.ram_gb,
            "price_token_per_ksec": self.price,
            "max_parallel": self.max_parallel,
            "region": self.region,
            "accel": self.accel,
            "tags": self.tags,
            "capabilities": self.capabilities,
            "wallet_address": self.wallet_address,
        }


def population(count: int, *, seed: int, places: Sequence[Place] = PLACES) -> Iterator[MinerSpec]:
    weights = [place.weight for place in places]
    for number in range(1, count + 1):
        rng = Random(f"{seed}/{number}")  # noqa: S311 - one for each miner, so that no miner moves another
        yield _miner(number, seed, rng, rng.choices(places, weights)[0])


def api_key(seed: int, miner_id: str) -> str:
    """The same in every run, so that a second one meets the same miners. Whoever knows the seed knows the key."""
    return f"seedkey-{_digest(f'key/{seed}/{miner_id}')[:40]}"


_MODEL_WEIGHTS = [model.weight for model in MODELS]


def _miner(number: int, seed: int, rng: Random, place: Place) -> MinerSpec:
    model = rng.choices(MODELS, _MODEL_WEIGHTS)[0]
    count = _drawn(rng, model.counts)
    cores, ram_gb = _machine(rng, model, count)
    at_home = model.tier is Tier.CONSUMER and count <= 2
    latency_ms = place.latency_ms * rng.lognormvariate(0, LATENCY_SPREAD) * (HOME_DETOUR if at_home else 1)
    miner_id = f"{PREFIX}{number:05d}"
    accel = model.platform.accel
    return MinerSpec(
        miner_id=miner_id,
        api_key=api_key(seed, miner_id),
        addr=_addr(number, rng, miner_id, place.region),
        proto=_drawn(rng, PROTOS),
        gpu_name=model.name if count else "",
        gpu_vram=model.vram_gb,
        gpu_count=count,
        cpu_cores=cores,
        ram_gb=ram_gb,
        price=_price(rng, model, place),
        max_parallel=_slots(model, count, cores),
        region=place.region,
        accel=accel,
        tags=_tags(rng, model, count, place, latency_ms, at_home=at_home),
        capabilities=_capabilities(rng, accel, model.vram_gb, ram_gb),
        wallet_address=f"ait1{_digest(f'wallet/{seed}/{miner_id}')[:38]}",
        latency_ms=round(latency_ms, 1),
        busy_share=round(0.05 + 0.85 * rng.betavariate(2, 3), 3),
        peak_hour=(PEAK_HOUR + rng.gauss(0, 2) - place.utc_offset_h) % 24,
    )


def _machine(rng: Random, model: Model, count: int) -> tuple[int, float]:
    """Cores and RAM: fixed for machines that are sold whole, else in step with the GPUs."""
    cores = rng.choice(model.cores)
    if model.ram_gb:
        return cores, float(model.ram_gb[model.cores.index(cores) % len(model.ram_gb)])
    wanted_gb = count * model.vram_gb * rng.choice((1.0, 1.5, 2.0))
    return built_with(CORES, cores * count), float(built_with(RAM_GB, wanted_gb))


def _slots(model: Model, count: int, cores: int) -> int:
    """Jobs at once: one a GPU, two with the memory for it, four on the largest; one for each 16 cores without."""
    if count == 0:
        return max(1, cores // 16)
    return count * (4 if model.vram_gb >= 80 else 2 if model.vram_gb >= 24 else 1)


def _price(rng: Random, model: Model, place: Place) -> Decimal:
    price = model.price * place.price_level * rng.lognormvariate(0, PRICE_SPREAD)
    return max(LEAST_PRICE, Decimal(f"{price:.4f}"))


def _addr(number: int, rng: Random, miner_id: str, region: str) -> str:
    """Each its own: the number alone decides about network, host and port."""
    if rng.random() < NAMED_SHARE:
        return f"{miner_id}.{region}.{DOMAIN}:{rng.choice((443, 8443, 9000, 50051))}"
    row, network = divmod(number, len(NETWORKS))
    port, host = divmod(row, HOSTS)
    return f"{NETWORKS[network]}.{host + 1}:{FIRST_PORT + port}"


def _tags(rng: Random, model: Model, count: int, place: Place, latency_ms: float, *, at_home: bool) -> tuple[str, ...]:
    platform = model.platform
    tags = [place.region, f"{platform.key}={rng.choice(platform.versions)}", "home" if at_home else "datacenter"]
    if count == 0:
        tags.append(f"model={model.name}")
    if latency_ms < LOW_LATENCY_MS:
        tags.append("low-latency")
    if count > 1 and model.tier is Tier.DATACENTER and model.vram_gb >= 80:
        tags.append("nvlink" if "cuda" in platform.accel else "xgmi")
    tags += [name for name, share in (("spot", 0.25), ("ipv6", 0.4), ("docker", 0.7)) if rng.random() < share]
    return tuple(tags)


def _capabilities(rng: Random, accel: tuple[str, ...], vram_gb: float, ram_gb: float) -> tuple[str, ...]:
    offered = [
        offer.name
        for offer in OFFERS
        if rng.random() < offer.share and can_run(offer, accel=accel, vram_gb=vram_gb, ram_gb=ram_gb)
    ]
    return tuple(offered or [LEAST])


def _drawn(rng: Random, shares: Sequence[tuple[T, float]]) -> T:
    point = rng.random() * math.fsum(share for _, share in shares)
    for value, share in shares:
        point -= share
        if point < 0:
            return value
    return shares[-1][0]


def _digest(text: str) -> str:
    return hashlib.sha256(f"poolhub seed/{text}".encode()).hexdigest()
