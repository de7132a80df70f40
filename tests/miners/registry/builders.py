"""Rows and registries for tests: the shortest way to have one."""

from typing import Any

from miners.registry.records import MinerRow
from miners.registry.store import Registry

NOW = 1_800_000_000.0
TTL_S, GRACE_S, HALF_LIFE_S = 60.0, 120.0, 1000.0
UNITS = 10**8

PLAIN: dict[str, Any] = {
    "miner_id": "m", "version": 1, "session": 1, "key_tag": 7, "addr": "10.0.0.1:9000", "proto": "grpc",
    "gpu_name": "RTX 4090", "gpu_vram": 24.0, "gpu_count": 1, "cpu_cores": 16, "ram_gb": 64.0, "price": UNITS,
    "price_cap": None, "overrides": (), "max_parallel": 4, "region": "eu-west", "accel": ("cuda",), "tags": (),
    "capabilities": (), "draining": False, "operator_drain": False, "disabled": False, "logged_out": False,
    "trust_s": 0.0, "trust_f": 0.0, "trust_at": NOW, "latency_mean": None, "latency_count": 0,
}  # fmt: skip


def row(miner_id: str = "m", **fields: Any) -> MinerRow:
    return MinerRow(**{**PLAIN, "miner_id": miner_id, **fields})


def empty(capacity: int = 64, **settings: Any) -> Registry:
    """A registry whose latency ranks are exact at any moment."""
    return Registry(
        **{
            "session_ttl_s": TTL_S, "grace_s": GRACE_S, "half_life_s": HALF_LIFE_S, "capacity": capacity,
            "rank_max_age_s": 0.0, **settings,
        }
    )  # fmt: skip


def registry_of(*rows: MinerRow, now: float = NOW, **settings: Any) -> Registry:
    """A registry with these miners, all of them heard of now."""
    registry = empty(**settings)
    for each in rows:
        registry.upsert(each, now=now, last_seen=now)
    return registry
