"""The history of matches, written behind the answers.

Promises: an answer never waits for the database; what was matched is stored by the next flush, once a second and at a
clean stop; a crash loses that second. While the database is away the newest MAX_PENDING are kept, older ones are
dropped and counted. All matches of one job are in the sample, or none.
"""

import threading
import uuid
import zlib
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from msgspec import UNSET

from matching.models import MatchRecord
from matching.serializers import MatchAnswer, MatchRequest
from miners.registry import runtime
from poolhub.common import clock, codec
from poolhub.common.metrics import MATCH_RECORDS_DROPPED

MAX_PENDING = 10_000
BATCH = 500
FLUSH_S, PURGE_S = 1.0, 3600.0
PURGE_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Matched:
    request: MatchRequest
    answer: MatchAnswer
    at: float  # epoch seconds
    latency_ms: float


class Records:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: deque[Matched] = deque()
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
                if not batch:
                    return stored
                try:
                    MatchRecord.objects.bulk_create([_record(each) for each in batch])
                except Exception:
                    self._take_back(batch)
                    raise
                stored += len(batch)

    def _take_back(self, batch: list[Matched]) -> None:
        """As if it had not been taken; the oldest go where others have come meanwhile."""
        with self._lock:
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
            deleted += MatchRecord.objects.filter(id__in=chunk).delete()[0]


def _record(matched: Matched) -> MatchRecord:
    answer = matched.answer
    return MatchRecord(
        job_id=matched.request.job_id,
        created_at=clock.to_datetime(matched.at),
        request=_plain(matched.request),
        candidates=_plain(answer.candidates),
        explain=answer.explain,
        considered=answer.considered,
        eligible=answer.eligible,
        rejected=answer.rejected,
        reservation_id=None if answer.reservation is UNSET else uuid.UUID(answer.reservation.id),
        latency_ms=matched.latency_ms,
    )


def _plain(body: Any) -> Any:
    """As JSON shows it, without fields that were left out."""
    return _given(msgspec.json.decode(codec.encode(body)))


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


records = Records()
