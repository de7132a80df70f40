"""The database's copy of the reservations, which a store that lost its data is filled from.

Promises. What a function wrote is committed when it returns, but for `reservations_end_of_job`, which is part of the
caller's transaction. Raises `Unavailable` while the database does not answer.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from psycopg_pool import PoolTimeout

from matching.models import Reservation as Row
from matching.reservations.base import Reservation
from poolhub.common import clock
from poolhub.common.breaker import Breaker
from poolhub.common.errors import Unavailable

TABLE = Row._meta.db_table
COLUMNS = ("id", "job_id", "miner_id", "ttl_ms", "expires_at")
ONE = f"({', '.join(['%s'] * len(COLUMNS))})"
CHUNK = 2000
SKEW = timedelta(minutes=1)  # the clocks of hub and store may differ by so much; the store knows what is over
KEEP = timedelta(days=1)  # what is over serves only those who look into yesterday
PURGE_CHUNK = 1000

_breaker = Breaker(rest_s=1.0)


def reservations_writable() -> None:
    """Raises Unavailable right after a write that failed: a slot that is taken now could not be answered."""
    if _breaker.rests():
        raise Unavailable("The database does not answer. Try again.")


def reservations_write(reservations: Iterable[Reservation]) -> set[str]:
    """Store them as they are now; the ids of those that have been ended already, and stay so."""
    rows = list({each.id: each for each in reservations}.values())
    if not rows:
        return set()
    statement = (
        f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES {', '.join([ONE] * len(rows))} "
        "ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at RETURNING id, ended_at"
    )
    try:
        with _answering(), connection.cursor() as cursor:
            cursor.execute(statement, [value for each in rows for value in _values(each)])
            found = cursor.fetchall()
    except Unavailable:
        _breaker.failed()
        raise
    _breaker.worked()
    return {_id(row_id) for row_id, ended_at in found if ended_at is not None}


def reservations_end(ids: Collection[str]) -> int:
    """From now on they are over; how many were not already. Harmless where they never were."""
    known = [each for each in map(_uuid, ids) if each is not None]
    if not known:
        return 0
    with _answering():
        return len(_end(f"id IN ({', '.join(['%s'] * len(known))})", map(_prepared, known)))


def reservations_end_of_job(*, job_id: str, miner_id: str | None) -> list[str]:
    """End those of a job that are open (on that miner, where one is named); their ids."""
    where, values = "job_id = %s AND expires_at > %s", [job_id, _time(_oldest())]
    if miner_id is not None:
        where, values = f"{where} AND miner_id = %s", [*values, miner_id]
    return _end(where, values)


def _end(where: str, values: Iterable[Any]) -> list[str]:
    statement = f"UPDATE {TABLE} SET ended_at = %s WHERE ended_at IS NULL AND {where} RETURNING id"
    with connection.cursor() as cursor:
        cursor.execute(statement, [_time(clock.to_datetime(clock.now())), *values])
        return [_id(row_id) for (row_id,) in cursor.fetchall()]


def reservations_open() -> Iterator[Reservation]:
    """What was answered and has not ended; some that have just run out may be among them."""
    rows = Row.objects.filter(ended_at=None, expires_at__gt=_oldest()).order_by("expires_at")
    with _answering():
        for row_id, job_id, miner_id, ttl_ms, expires_at in rows.values_list(*COLUMNS).iterator(CHUNK):
            yield Reservation(str(row_id), job_id, miner_id, ttl_ms, expires_at.timestamp())


def reservations_purge() -> int:
    """Delete what was over a day ago, in short transactions; how many.

    Several processes may do it at once: each passes over what another is deleting.
    """
    old = Row.objects.filter(expires_at__lt=clock.to_datetime(clock.now()) - KEEP)
    deleted = 0
    while True:
        with transaction.atomic():
            chunk = list(old.select_for_update(skip_locked=True).values_list("id", flat=True)[:PURGE_CHUNK])
            if not chunk:
                return deleted
            deleted += Row.objects.filter(id__in=chunk).delete()[0]


def _oldest() -> datetime:
    """What expired before is over by any clock."""
    return clock.to_datetime(clock.now()) - SKEW


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("The database does not answer. Try again.") from error


def _values(each: Reservation) -> tuple[Any, ...]:
    expires_at = _time(clock.to_datetime(each.expires_at))
    return _prepared(uuid.UUID(each.id)), each.job_id, each.miner_id, each.ttl_ms, expires_at


def _prepared(row_id: uuid.UUID) -> Any:
    """As the driver takes it: SQLite has no type for it."""
    return Row._meta.pk.get_db_prep_save(row_id, connection)


def _id(row_id: object) -> str:
    """And back."""
    return str(uuid.UUID(str(row_id)))


def _time(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _uuid(text: str) -> uuid.UUID | None:
    """None for what is no id of ours, such as another spelling of one."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
