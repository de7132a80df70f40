"""Registries that hear of each other, and a digest that tells whether they agree."""

import hashlib
from collections.abc import Callable

import numpy as np
from redis import Redis

from miners.registry.bus import Bus
from miners.registry.merging import TIMED
from miners.registry.store import Registry
from tests.miners.registry.builders import empty, row
from tests.waiting import until

COMPARED = (
    *TIMED, *(f"{name}_at" for name in TIMED), "own", "own_then", "foreign", "latency", "last_seen", "since", "f_load",
    "f_state", "eta_ms", "u_eta",
)  # fmt: skip


def pool(count: int, *, now: float) -> Registry:
    """Miners m00001 … with primary keys 1 …, all of them just registered."""
    registry = empty()
    for pk in range(1, count + 1):
        registry.upsert(row(f"m{pk:05}", pk=pk, max_parallel=4, session=int((now - 1) * 1e6)), now=now, last_seen=now)
    return registry


def digest(registry: Registry) -> dict[str, str]:
    """By column, over the miners in the order of their ids."""
    with registry.lock:
        slots = np.array([registry.slots[miner_id] for miner_id in sorted(registry.slots)], np.intp)
        found = {}
        for name in COMPARED:
            values = getattr(registry.columns, name)[slots]
            if values.dtype.kind == "f":
                values = np.where(np.isnan(values), np.nan, values)  # one kind of nan
            found[name] = hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
        free = registry.states.free.view(np.uint8)
        found["free"] = np.unpackbits(free, bitorder="little")[slots].tobytes().hex()
        return found


def differing(*registries: Registry) -> set[str]:
    """The columns in which they are not all alike."""
    first, *others = [digest(each) for each in registries]
    return {name for name in first for other in others if other[name] != first[name]}


def agree(*registries: Registry) -> bool:
    return until(lambda: not differing(*registries))


def bus_of(registry: Registry, url: str, recover: Callable[[], object] = lambda: None) -> Bus:
    def connect() -> Redis:
        return Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=0.5)

    return Bus(registry, connect, recover, asking=connect)


def join(registry: Registry, url: str, recover: Callable[[], object] = lambda: None) -> Bus:
    bus = bus_of(registry, url, recover)
    bus.mark()
    bus.start()
    return bus
