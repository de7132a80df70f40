"""Old match records go, whoever deletes them."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from matching import records
from matching.models import MatchRecord
from poolhub.common import clock

pytestmark = pytest.mark.django_db(transaction=True)


def test_processes_that_purge_at_once_delete_each_record_once(settings, monkeypatch) -> None:
    settings.MATCH_RECORD_DAYS = 1
    monkeypatch.setattr(records, "PURGE_CHUNK", 10)
    now = clock.to_datetime(clock.now())
    made = [now - timedelta(days=2)] * 200 + [now] * 3
    plain = {"request": {}, "candidates": [], "explain": "", "considered": 0, "eligible": 0, "rejected": {}}
    MatchRecord.objects.bulk_create(
        [MatchRecord(job_id=str(i), created_at=at, latency_ms=1, **plain) for i, at in enumerate(made)]
    )
    deleted: list[int] = []
    barrier = threading.Barrier(4)

    def purge() -> None:
        barrier.wait()
        try:
            deleted.append(records.purge())
        finally:
            connection.close()

    threads = [threading.Thread(target=purge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(deleted) == 4
    assert sum(deleted) == 200
    assert MatchRecord.objects.count() == 3
