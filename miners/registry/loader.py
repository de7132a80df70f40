"""From the database into the registry: one miner's row, or all of them at the start of a process.

Guarantee at the start: a miner that was seen within the grace period before it counts as seen just now, since nobody
could reach a hub that was down; the others are offline. What it last reported stands, and all of it counts as foreign
load, since the reservations and holds behind it ended with the old process.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import numpy as np
from django.db.models import Q

from miners.models import Miner, MinerStatus, PriceOverride
from miners.registry.columns import INF
from miners.registry.records import LiveStatus, MinerRow, PriceWindow
from miners.registry.store import Registry
from miners.sessions import key_tag
from poolhub.common import clock
from poolhub.common.fields import price_units

CHUNK = 2000
LOOK_UP = 500
DURABLE = (
    "id", "miner_id", "api_key_hash", "session", "version", "addr", "proto", "gpu_name", "gpu_vram", "gpu_count",
    "cpu_cores", "ram_gb", "price", "price_cap", "max_parallel", "region", "accel", "tags", "capabilities", "draining",
    "operator_drain", "disabled", "logged_out", "trust_s", "trust_f", "trust_at", "latency_mean", "latency_count",
)  # fmt: skip
REPORTED = ("last_seen", "ts", "queue_len", "busy", "jobs", "latency_ms", "temp_c", "mem_free_gb")


class Durable(Protocol):
    """The columns of Miner that the registry holds: an instance, or a row of values_list(named=True)."""

    id: int
    miner_id: str
    api_key_hash: str
    session: int
    version: int
    addr: str
    proto: str
    gpu_name: str
    gpu_vram: float
    gpu_count: int
    cpu_cores: int
    ram_gb: float
    price: Decimal
    price_cap: Decimal | None
    max_parallel: int
    region: str
    accel: Sequence[str]
    tags: Sequence[str]
    capabilities: Sequence[str]
    draining: bool
    operator_drain: bool
    disabled: bool
    logged_out: bool
    trust_s: float
    trust_f: float
    trust_at: datetime
    latency_mean: float | None
    latency_count: int


def row_of(miner: Durable, overrides: tuple[PriceWindow, ...]) -> MinerRow:
    return MinerRow(
        pk=miner.id,
        miner_id=miner.miner_id,
        version=miner.version,
        session=miner.session,
        key_tag=key_tag(miner.api_key_hash),
        addr=miner.addr,
        proto=miner.proto,
        gpu_name=miner.gpu_name,
        gpu_vram=float(miner.gpu_vram),
        gpu_count=miner.gpu_count,
        cpu_cores=miner.cpu_cores,
        ram_gb=float(miner.ram_gb),
        price=price_units(miner.price),
        price_cap=None if miner.price_cap is None else price_units(miner.price_cap),
        overrides=overrides,
        max_parallel=miner.max_parallel,
        region=miner.region,
        accel=tuple(miner.accel),
        tags=tuple(miner.tags),
        capabilities=tuple(miner.capabilities),
        draining=miner.draining,
        operator_drain=miner.operator_drain,
        disabled=miner.disabled,
        logged_out=miner.logged_out,
        trust_s=miner.trust_s,
        trust_f=miner.trust_f,
        trust_at=miner.trust_at.timestamp(),
        latency_mean=miner.latency_mean,
        latency_count=miner.latency_count,
    )


def windows_by_miner(now: float, **of: object) -> dict[int, tuple[PriceWindow, ...]]:
    """Overrides that are or may come in force, by the miner's primary key, newest first.

    One that is in force without an end hides all older ones for good, so those are left out.
    """
    ahead = Q(valid_until__isnull=True) | Q(valid_until__gt=clock.to_datetime(now))
    found: dict[int, list[PriceWindow]] = defaultdict(list)
    hidden: set[int] = set()
    kept = PriceOverride.objects.filter(ahead, **of).order_by("-id")
    for pk, price, starts, ends in kept.values_list("miner_id", "price", "valid_from", "valid_until"):
        if pk in hidden:
            continue
        found[pk].append(PriceWindow(price_units(price), starts.timestamp(), ends.timestamp() if ends else INF))
        if ends is None and starts.timestamp() <= now:
            hidden.add(pk)
    return {pk: tuple(windows) for pk, windows in found.items()}


def miner_row(miner: Miner) -> MinerRow:
    return row_of(miner, windows_by_miner(clock.now(), miner=miner).get(miner.pk, ()))


def miner_refresh(registry: Registry, miner_id: str) -> bool:
    """Take one miner from the database, which may be ahead of this process; False where there is none."""
    miner = Miner.objects.select_related("status").filter(miner_id=miner_id).first()
    if miner is None:
        return False
    last_seen = miner.status.last_seen
    registry.upsert(miner_row(miner), now=clock.now(), last_seen=last_seen.timestamp() if last_seen else None)
    return True


def stale_rows(registry: Registry, *, now: float) -> Iterator[tuple[MinerRow, float | None]]:
    """Rows of which the database has a newer version than the registry, with the miner's last contact.

    Compares numbers alone, so that it is cheap where nothing differs. Miners that the database no longer has are
    removed on the way.
    """
    kept = np.fromiter(
        (pair for each in Miner.objects.values_list("id", "version").iterator(CHUNK) for pair in each), np.int64
    ).reshape(-1, 2)
    with registry.lock:
        held = registry.versions_of(kept[:, 0].astype(np.uint64))
        extra = registry.pks_beside(kept[:, 0])
    stale = kept[held < kept[:, 1], 0].tolist()
    for start in range(0, len(stale), LOOK_UP):
        some = Miner.objects.select_related("status").filter(id__in=stale[start : start + LOOK_UP])
        windows = windows_by_miner(now, miner__in=stale[start : start + LOOK_UP])
        for miner in some:
            last_seen = miner.status.last_seen
            yield row_of(miner, windows.get(miner.pk, ())), last_seen.timestamp() if last_seen else None
    for start in range(0, len(extra), LOOK_UP):
        chunk = dict(extra[start : start + LOOK_UP])
        # looked at again: one that was created meanwhile is not gone
        for pk in chunk.keys() - set(Miner.objects.filter(id__in=chunk).values_list("id", flat=True)):
            registry.remove(chunk[pk], pk=pk)


def load(registry: Registry, *, now: float) -> None:
    registry.load(_rows(now, registry.states.grace_s), now=now)


def _rows(now: float, grace_s: float) -> Iterator[tuple[MinerRow, LiveStatus | None]]:
    overrides = windows_by_miner(now)
    reported = dict(_reported(now, grace_s))
    for miner in Miner.objects.order_by("id").values_list(*DURABLE, named=True).iterator(CHUNK):
        yield row_of(miner, overrides.get(miner.id, ())), reported.get(miner.miner_id)


def _reported(now: float, grace_s: float) -> Iterator[tuple[str, LiveStatus]]:
    seen = MinerStatus.objects.filter(last_seen__isnull=False)
    for row in seen.values_list("miner_id", *REPORTED).iterator(CHUNK):
        miner_id, last_seen, ts, queue_len, busy, jobs, latency_ms, temp_c, mem_free_gb = row
        at = last_seen.timestamp()
        yield (
            miner_id,
            LiveStatus(
                last_seen=now if now - at <= grace_s else at,
                reported_at=at,
                ts=None if ts is None else ts.timestamp(),
                queue_len=queue_len,
                busy=busy,
                jobs=jobs,
                latency_ms=latency_ms,
                temp_c=temp_c,
                mem_free_gb=mem_free_gb,
            ),
        )
