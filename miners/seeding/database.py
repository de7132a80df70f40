"""Seed miners straight into the database, and out of it again, in bulk.

Guarantees, as of a registration one by one: a miner that is there already gets the whole profile and the key anew, a
new session and the next version, and keeps trust, overrides and what operators decided; a second run changes nothing
else. Each chunk is one transaction, so that a run that is cut short leaves whole miners. The registry of this process
follows after the commit, where it is loaded; one of another process knows nothing of it before its next start.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import TypeVar

from django.db import IntegrityError, OperationalError, transaction

from miners import connections
from miners.models import Miner, MinerStatus
from miners.profile import registered_profile
from miners.registry.loader import UNATTESTED, attestations_by_miner, row_of, windows_by_miner
from miners.registry.records import Report
from miners.registry.runtime import loaded
from miners.seeding.load import Load
from miners.seeding.population import PREFIX, SEED_ID, MinerSpec
from miners.serializers import RegisterRequest
from miners.services.registration import FRESH_STATUS
from miners.sessions import hash_api_key, next_session
from poolhub.common import clock, codec

T = TypeVar("T")
Known = dict[str, tuple[int, int]]  # session and version by miner id

CHUNK = 2000
RETRIES = 2  # of a chunk: SQLite's one write lock was busy for long, or a write-behind held its rows crosswise

SESSION = ("api_key_hash", "session", "version", "logged_out", "draining", "registered_at")
PROFILE = (
    "addr", "proto", "gpu_name", "gpu_vram", "gpu_count", "cpu_cores", "ram_gb", "price", "max_parallel", "region",
    "accel", "tags", "capabilities", "wallet_address",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    created: int
    updated: int


def seed_miners_store(*, specs: Iterable[MinerSpec], progress: Callable[[int], object]) -> Stored:
    """Write the miners as registered and heard of just now. progress is told how many more are in."""
    started = clock.now()
    created = total = 0
    for chunk in _chunks(specs):
        created += _tried(partial(_store, chunk))
        total += len(chunk)
        progress(len(chunk))
    _see_again(started)
    return Stored(created, total - created)


def seed_miners_remove(*, progress: Callable[[int], object]) -> int:
    """Delete every seed miner and what hangs on it; how many there were."""
    removed = 0
    for chunk in _chunks(seed_miner_ids()):
        removed += _tried(partial(_remove, chunk))
        progress(len(chunk))
    return removed


def seed_miner_ids() -> list[str]:
    """Of the form that the population gives alone: another miner may be called seed-bank."""
    named = Miner.objects.filter(miner_id__startswith=PREFIX).order_by("id").values_list("miner_id", flat=True)
    return [miner_id for miner_id in named if SEED_ID.fullmatch(miner_id)]


def _store(chunk: Sequence[MinerSpec]) -> int:
    now = clock.now()
    known, fresh = _insert(chunk, now)
    # all of these are there and locked, so each row conflicts, and becomes an update by that
    Miner.objects.bulk_create(
        [_miner(spec, now, *known[spec.miner_id]) for spec in chunk if spec.miner_id in known],
        update_conflicts=True,
        unique_fields=["miner_id"],
        update_fields=[*SESSION, *PROFILE],
    )
    reports = {spec.miner_id: _report(spec, now) for spec in chunk}
    MinerStatus.objects.bulk_create(
        [_status(miner_id, report) for miner_id, report in reports.items()],
        update_conflicts=True,
        unique_fields=["miner"],
        update_fields=["last_seen", *FRESH_STATUS],
    )
    transaction.on_commit(partial(_publish, reports))
    return fresh


def _insert(chunk: Sequence[MinerSpec], now: float) -> tuple[Known, int]:
    """Those that were there already, locked, and how many were not and are now."""
    known = _locked(chunk)
    while True:
        fresh = [_miner(spec, now) for spec in chunk if spec.miner_id not in known]
        try:
            with transaction.atomic():
                Miner.objects.bulk_create(fresh)
        except IntegrityError:
            # somebody registered one of them between our look and our insert: it is known by now, or it was not that
            before, known = known, _locked(chunk)
            if len(known) <= len(before):
                raise
        else:
            return known, len(fresh)


def _locked(chunk: Sequence[MinerSpec]) -> Known:
    rows = Miner.objects.select_for_update().filter(miner_id__in=[spec.miner_id for spec in chunk])
    return {
        miner_id: (session, version)
        for miner_id, session, version in rows.values_list("miner_id", "session", "version")
    }


def _miner(spec: MinerSpec, now: float, session: int = 0, version: int = 0) -> Miner:
    """As the next session and version after these have it."""
    at = clock.to_datetime(now)
    return Miner(
        miner_id=spec.miner_id,
        api_key_hash=hash_api_key(spec.api_key),
        session=next_session(session, now),
        version=version + 1,
        trust_at=at,
        created_at=at,
        registered_at=at,
        **registered_profile(codec.convert(spec.body(), RegisterRequest)),
    )


def _report(spec: MinerSpec, now: float) -> Report:
    reading = Load(spec, Random(spec.api_key), now=now).reading(now)  # noqa: S311 - a mock's load
    return Report(
        at=now,
        queue_len=reading.queue_len,
        busy=reading.busy,
        jobs=0,
        latency_ms=reading.latency_ms,
        temp_c=reading.temp_c,
        mem_free_gb=reading.mem_free_gb,
    )


def _status(miner_id: str, report: Report) -> MinerStatus:
    reported = {
        "queue_len": report.queue_len,
        "busy": report.busy,
        "latency_ms": report.latency_ms,
        "temp_c": report.temp_c,
        "mem_free_gb": report.mem_free_gb,
    }
    return MinerStatus(miner_id=miner_id, last_seen=clock.to_datetime(report.at), **{**FRESH_STATUS, **reported})


def _publish(reports: dict[str, Report]) -> None:
    """Into the registry of this process; without one there is no socket here to close either."""
    registry = loaded()
    if registry is None:
        return
    miners = list(Miner.objects.filter(miner_id__in=reports))
    overrides = windows_by_miner(clock.now(), miner__in=miners)
    attested = attestations_by_miner(clock.now(), miner__in=miners)
    for miner in miners:
        report = reports[miner.miner_id]
        row = row_of(miner, overrides.get(miner.pk, ()), attested.get(miner.pk, UNATTESTED))
        registry.upsert(row, now=report.at, last_seen=report.at)
        registry.report(miner.miner_id, report)
        connections.end(miner.miner_id, connections.ENDED, before=miner.session)


def _see_again(started: float) -> None:
    """Have all of them seen at the end of the run: the first of a million would else be offline by then."""
    at = clock.to_datetime(clock.now())
    MinerStatus.objects.filter(
        miner__miner_id__startswith=PREFIX, last_seen__gte=clock.to_datetime(started), last_seen__lt=at
    ).update(last_seen=at)


def _remove(chunk: Sequence[str]) -> int:
    gone = list(
        Miner.objects.select_for_update().filter(miner_id__in=chunk).values_list("miner_id", flat=True).order_by("id")
    )
    Miner.objects.filter(miner_id__in=gone).delete()
    transaction.on_commit(partial(_forget, gone))
    return len(gone)


def _forget(miner_ids: Sequence[str]) -> None:
    registry = loaded()
    if registry is None:
        return
    for miner_id in miner_ids:
        registry.remove(miner_id)
        connections.end(miner_id, connections.ENDED)


def _tried(work: Callable[[], T]) -> T:
    """A chunk's work in a transaction of its own, tried again where that lost to another one."""
    for _ in range(RETRIES):
        with suppress(OperationalError), transaction.atomic():
            return work()
    with transaction.atomic():
        return work()


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
