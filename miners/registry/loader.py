"""From the database into the registry: one miner's row, or all of them at the start of a process.

Guarantee at the start: a miner that was seen within the grace period before it counts as seen just now, since nobody
could reach a hub that was down; the others are offline. What it last reported stands, and all of it counts as foreign
load, since the reservations and holds behind it ended with the old process.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from django.db import connection
from django.db.models import Q
from django.db.models.sql import Query

from miners.models import Manifest, Miner, PriceOverride
from miners.registry.columns import INF, NAN
from miners.registry.records import ATTESTABLE, NOTHING_ATTESTED, Attested, MinerRow, PriceWindow
from miners.registry.store import Registry
from miners.registry.tables import LISTS, LIVE, NUMBERS, TEXTS, Table, column
from miners.sessions import key_tag
from poolhub.common import clock
from poolhub.common.fields import price_units

CHUNK = 20_000  # rows fetched and written at a time: about 40 MB
LOOK_UP = 500
DURABLE = (
    "id", "miner_id", "api_key_hash", "session", "version", "addr", "proto", "gpu_name", "gpu_vram", "gpu_count",
    "cpu_cores", "ram_gb", "price", "price_cap", "max_parallel", "region", "accel", "tags", "capabilities", "draining",
    "operator_drain", "disabled", "logged_out", "trust_s", "trust_f", "trust_at", "latency_mean", "latency_count",
)  # fmt: skip
REPORTED = ("last_seen", "ts", "queue_len", "busy", "jobs", "latency_ms", "temp_c", "mem_free_gb")
STORED = (*DURABLE, *(f"status__{name}" for name in REPORTED))


Attestation = tuple[Attested, float]  # until when, epoch seconds
UNATTESTED: Attestation = (NOTHING_ATTESTED, 0.0)


def row_of(miner: Miner, overrides: tuple[PriceWindow, ...], attestation: Attestation = UNATTESTED) -> MinerRow:
    attested, attested_until = attestation
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
        attested=attested,
        attested_until=attested_until,
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


def attestations_by_miner(now: float, **of: object) -> dict[int, Attestation]:
    """Of the manifests in force, by the miner's primary key."""
    ahead = Manifest.objects.filter(
        ended_at=None, expires_at__gt=clock.to_datetime(now), **{"miner__isnull": False, **of}
    )
    rows = ahead.values_list("miner_id", "values", "expires_at").iterator(CHUNK)
    return {pk: (attested_of(values), ends.timestamp()) for pk, values, ends in rows if pk is not None}


def attested_of(values: Mapping[str, Any]) -> Attested:
    """From the values of a manifest, as the database has them."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in ATTESTABLE
    }
    return Attested(**known)


def miner_row(miner: Miner) -> MinerRow:
    now = clock.now()
    windows = windows_by_miner(now, miner=miner)
    return row_of(miner, windows.get(miner.pk, ()), attestations_by_miner(now, miner=miner).get(miner.pk, UNATTESTED))


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
    kept = np.array(list(Miner.objects.values_list("id", "version").iterator(CHUNK)), np.int64).reshape(-1, 2)
    with registry.lock:
        held = registry.versions_of(kept[:, 0].astype(np.uint64))
        extra = registry.pks_beside(kept[:, 0])
    stale = kept[held < kept[:, 1], 0].tolist()
    for start in range(0, len(stale), LOOK_UP):
        some = list(Miner.objects.select_related("status").filter(id__in=stale[start : start + LOOK_UP]))
        # after the rows: what comes in between comes again, with a newer version
        windows = windows_by_miner(now, miner__in=stale[start : start + LOOK_UP])
        attested = attestations_by_miner(now, miner__in=stale[start : start + LOOK_UP])
        for miner in some:
            last_seen = miner.status.last_seen
            row = row_of(miner, windows.get(miner.pk, ()), attested.get(miner.pk, UNATTESTED))
            yield row, last_seen.timestamp() if last_seen else None
    for start in range(0, len(extra), LOOK_UP):
        chunk = dict(extra[start : start + LOOK_UP])
        # looked at again: one that was created meanwhile is not gone
        for pk in chunk.keys() - set(Miner.objects.filter(id__in=chunk).values_list("id", flat=True)):
            registry.remove(chunk[pk], pk=pk)


def load(registry: Registry, *, now: float) -> None:
    """Fill an empty registry."""
    tables = (_table(rows, now, registry.states.grace_s) for rows in _stored())
    registry.load(tables, now=now, expected=Miner.objects.count())


def stored_query() -> Query:
    """STORED of every miner."""
    return Miner.objects.order_by("id").values_list(*STORED).query


def _stored() -> Iterator[list[tuple[Any, ...]]]:
    """As the driver gives it: Django's conversions would cost as much as all the rest."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(*stored_query().sql_with_params())
        while rows := cursor.fetchmany(CHUNK):
            yield rows


def _table(rows: list[tuple[Any, ...]], now: float, grace_s: float) -> Table:
    found = dict(zip(STORED, zip(*rows, strict=True), strict=True))
    # after the rows: what comes in between comes again, with a newer version; before them, it would never come
    of = {"miner_id__gte": found["id"][0], "miner_id__lte": found["id"][-1]}
    overrides, attested = windows_by_miner(now, **of), attestations_by_miner(now, **of)
    numbers: dict[str, Iterable[Any]] = {
        **found,
        "pk": found["id"],
        "key_tag": map(key_tag, found["api_key_hash"]),
        "trust_at": map(_epoch, found["trust_at"]),
        "attested_until": [attested.get(pk, UNATTESTED)[1] for pk in found["id"]],
    }
    reported_at = np.array([NAN if at is None else _epoch(at) for at in found["status__last_seen"]])
    live: dict[str, Iterable[Any]] = {
        **{name: found[f"status__{name}"] for name in REPORTED},
        "last_seen": np.where(now - reported_at <= grace_s, now, reported_at),
        "reported_at": reported_at,
        "ts": map(_epoch, found["status__ts"]),
        "own": repeat(0, len(rows)),
    }
    return Table(
        texts={name: found[name] for name in TEXTS},
        lists={name: _lists(found[name]) for name in LISTS},
        numbers={field[0]: column(numbers[field[0]], field) for field in NUMBERS},
        overrides={at: overrides[pk] for at, pk in enumerate(found["id"]) if pk in overrides},
        attested={at: attested[pk][0] for at, pk in enumerate(found["id"]) if pk in attested},
        reported=~np.isnan(reported_at),
        live={field[0]: column(live[field[0]], field) for field in LIVE},
    )


def _lists(texts: Sequence[str]) -> list[list[str]]:
    """All at once, which is several times quicker than one by one."""
    return msgspec.json.decode(f"[{','.join(texts)}]", type=list[list[str]])


def _epoch(at: datetime | None) -> float | None:
    """SQLite's times are in UTC and do not say so."""
    if at is None:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
