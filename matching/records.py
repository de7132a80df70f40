"""The history of matches, written behind the answers.

Promises: an answer never waits for the database; what was matched is stored by the next flush, once a second and at a
clean stop; a crash loses that second. While the database is away the newest MAX_PENDING are kept, older ones are
dropped and counted. All matches of one job are in the sample, or none.
"""

import threading
import uuid
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from msgspec import UNSET

from matching.candidacies import candidacies_purge, candidacies_store
from matching.models import MatchRecord
from matching.scoring.types import Candidate
from matching.serializers import MatchAnswer, MatchRequest
from miners.registry import runtime
from poolhub.common import clock, codec
from poolhub.common.metrics import MATCH_RECORDS_DROPPED

MAX_PENDING = 10_000
BATCH = 500  # with 11 values each far from the 32,766 that SQLite takes in one statement
FLUSH_S, PURGE_S = 1.0, 3600.0
PURGE_CHUNK = 1000

TABLE = MatchRecord._meta.db_table
COLUMNS = (
    "job_id", "created_at", "request", "candidates", "quotes", "explain", "considered", "eligible", "rejected",
    "reservation_id", "latency_ms",
)  # fmt: skip
INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES "  # noqa: S608 - names of ours
ONE = f"({', '.join(['%s'] * len(COLUMNS))})"
RESERVATION = MatchRecord._meta.get_field("reservation_id")


@dataclass(frozen=True, slots=True)
class Matched:
    request: MatchRequest
    answer: MatchAnswer
    at: float  # epoch seconds
    latency_ms: float
    offered: Sequence[Candidate] = ()


class Records:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: deque[Matched] = deque()
        self._storing: Sequence[Matched] = ()  # taken from those, and not stored yet
        self._watched = False

    def add(self, matched: Matched) -> None:
        if not in_sample(matched.request.job_id):
            return
        with self._lock:
            if len(self._pending) >= MAX_PENDING:
                self._pending.popleft()
                MATCH_RECORDS_DROPPED.inc()
            self._pending.append(matched)
            watched, self._watched = self._watched, True
        if not watched:
            runtime.every(FLUSH_S, self.flush, "match-records")
            runtime.every(PURGE_S, purge, "match-records-purge")

    def flush(self) -> int:
        """Store what waits; how many. What fails is kept for the next time."""
        stored = 0
        with self._flushing:
            while True:
                with self._lock:
                    batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
                    self._storing = batch
                if not batch:
                    return stored
                try:
                    _store(batch)
                except Exception:
                    self._take_back(batch)
                    raise
                stored += len(batch)

    def waiting(self, job_id: str) -> list[Matched]:
        """What is not stored yet of a job, oldest first."""
        with self._lock:
            kept = [*self._storing, *self._pending]
        return [each for each in kept if each.request.job_id == job_id]

    def _take_back(self, batch: list[Matched]) -> None:
        """As if it had not been taken; the oldest go where others have come meanwhile."""
        with self._lock:
            self._storing = ()
            lost = max(0, len(self._pending) + len(batch) - MAX_PENDING)
            self._pending.extendleft(reversed(batch[lost:]))
            MATCH_RECORDS_DROPPED.inc(lost)


def in_sample(job_id: str) -> bool:
    share = zlib.crc32(job_id.encode()) / 2**32
    return share < settings.MATCH_RECORD_SAMPLE


def purge() -> int:
    """Delete what is older than MATCH_RECORD_DAYS (0 = nothing), in short transactions; how many.

    Several processes may do it at once: each passes over what another is deleting.
    """
    if not settings.MATCH_RECORD_DAYS:
        return 0
    oldest = clock.to_datetime(clock.now()) - timedelta(days=settings.MATCH_RECORD_DAYS)
    old = MatchRecord.objects.filter(created_at__lt=oldest).select_for_update(skip_locked=True)
    deleted = 0
    while True:
        with transaction.atomic():
            chunk = list(old.values_list("id", flat=True)[:PURGE_CHUNK])
            if not chunk:
                return deleted
            candidacies_purge(chunk)
            deleted += MatchRecord.objects.filter(id__in=chunk).delete()[0]


def _store(batch: Sequence[Matched]) -> None:
    """Past the ORM: a model instance and its JSON fields cost several times as much as the insert."""
    statement = f"{INSERT}{', '.join([ONE] * len(batch))} RETURNING id"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, [value for each in batch for value in _values(each)])
        pks = sorted(pk for (pk,) in cursor.fetchall())  # they grow in the order of the rows
        candidacies_store((pk, each.at, each.answer) for pk, each in zip(pks, batch, strict=True))


def _values(matched: Matched) -> tuple[Any, ...]:
    answer = matched.answer
    reservation_id = None
    if answer.reservation is not UNSET:
        reservation_id = RESERVATION.get_db_prep_save(uuid.UUID(answer.reservation.id), connection)
    return (
        matched.request.job_id,
        connection.ops.adapt_datetimefield_value(clock.to_datetime(matched.at)),
        codec.encode(matched.request).decode(),
        codec.encode(answer.candidates).decode(),
        codec.encode({each.miner_id: [each.price_units, each.price_source] for each in matched.offered}).decode(),
        answer.explain,
        answer.considered,
        answer.eligible,
        codec.encode(answer.rejected).decode(),
        reservation_id,
        matched.latency_ms,
    )


records = Records()
