"""The database's copy of the reservations."""

import uuid

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from matching.models import Reservation as Row
from matching.reservations import table
from matching.reservations.base import Reservation
from matching.reservations.table import (
    reservations_end,
    reservations_end_of_job,
    reservations_open,
    reservations_purge,
    reservations_writable,
    reservations_write,
)
from poolhub.common.errors import Unavailable
from tests.matching.reservations.stores import failing

pytestmark = pytest.mark.django_db

NOW = 1_800_000_000.0
DAY_S = 86_400


def made(number: int = 1, job_id: str = "j1", miner_id: str = "m1", *, ends: float = NOW + 30) -> Reservation:
    return Reservation(str(uuid.UUID(int=number)), job_id, miner_id, 30_000, ends)


def open_ids() -> list[str]:
    return [each.id for each in reservations_open()]


# ---- writing


@pytest.mark.parametrize("ends", [NOW + 30, NOW + 0.000001, NOW + 1.234567])
@pytest.mark.parametrize("job_id", ["j1", " ", "é😀 ", "x" * 128])
def test_what_was_written_comes_back(ends, job_id) -> None:
    wanted = made(job_id=job_id, ends=ends)
    assert reservations_write([wanted]) == set()
    assert list(reservations_open()) == [wanted]


def test_many_are_one_statement(django_assert_num_queries) -> None:
    wanted = [made(i, f"j{i}", ends=NOW + i) for i in range(1, 257)]
    with django_assert_num_queries(1):
        reservations_write(wanted)
    assert list(reservations_open()) == wanted


def test_nothing_to_write_asks_nothing(django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        assert reservations_write([]) == set()


def test_written_again_it_has_the_new_end() -> None:
    reservations_write([made()])
    reservations_write([made(ends=NOW + 5)])
    reservations_write([made(2), made(2)])  # one job, twice in a batch
    assert list(reservations_open()) == [made(ends=NOW + 5), made(2)]


def test_what_has_ended_stays_so_and_is_told() -> None:
    reservations_write([made(1), made(2)])
    reservations_end([made(1).id])
    assert reservations_write([made(1, ends=NOW + 99), made(2)]) == {made(1).id}
    assert open_ids() == [made(2).id]


def test_while_the_database_fails_writing_is_unavailable_and_known_to_be() -> None:
    with failing(), pytest.raises(Unavailable):
        reservations_write([made()])
    with pytest.raises(Unavailable):
        reservations_writable()
    reservations_write([made()])
    reservations_writable()


@pytest.mark.parametrize("ask", [lambda: reservations_end([made().id]), lambda: list(reservations_open())])
def test_while_the_database_fails_the_rest_is_unavailable_too(ask) -> None:
    with failing(), pytest.raises(Unavailable):
        ask()
    reservations_writable()


# ---- ending


def test_what_ended_is_open_no_more_and_how_many_they_were_is_told(fake_clock) -> None:
    reservations_write([made(1), made(2), made(3)])
    fake_clock.advance(3)
    assert reservations_end([made(1).id, made(2).id]) == 2
    fake_clock.advance(3)
    assert reservations_end([made(1).id, made(9).id]) == 0
    assert open_ids() == [made(3).id]
    assert [row.ended_at and row.ended_at.timestamp() for row in Row.objects.order_by("id")] == [NOW + 3, NOW + 3, None]


@pytest.mark.parametrize(
    "text", ["", "nothing", "x" * 1000, f"urn:uuid:{made().id}", f"{{{made().id}}}", uuid.UUID(made().id).hex, "\0"]
)
def test_what_is_no_id_ends_nothing(text) -> None:
    reservations_write([made()])
    assert reservations_end([text]) == 0
    assert open_ids() == [made().id]


def test_an_id_is_written_in_one_way_alone() -> None:
    each = made(0xABCDEF)
    reservations_write([each])
    assert reservations_end([each.id.upper()]) == 0
    assert reservations_end([each.id]) == 1


def test_what_is_open_of_a_job_ends_together() -> None:
    rows = [
        made(1, "j1", "m1"),
        made(2, "j1", "m2"),
        made(3, "j2", "m1"),
        made(4, "j1", "m1", ends=NOW - 61),  # over by any clock
    ]
    reservations_write(rows)
    assert reservations_end_of_job(job_id="j3", miner_id=None) == []
    assert reservations_end_of_job(job_id="j1", miner_id="m2") == [rows[1].id]
    assert reservations_end_of_job(job_id="j1", miner_id=None) == [rows[0].id]
    assert reservations_end_of_job(job_id="j1", miner_id=None) == []
    assert open_ids() == [rows[2].id]


# ---- reading, purging


def test_the_open_ones_are_those_that_may_live_by_a_clock_a_minute_off() -> None:
    ends = [NOW - 60.001, NOW - 59.999, NOW, NOW + 600]
    reservations_write([made(i, f"j{i}", ends=end) for i, end in enumerate(ends)])
    assert [each.expires_at for each in reservations_open()] == ends[1:]


def test_what_was_over_a_day_ago_is_deleted_in_chunks(monkeypatch) -> None:
    monkeypatch.setattr(table, "PURGE_CHUNK", 3)
    old = [made(i, ends=NOW - DAY_S - 0.001) for i in range(7)]
    young = [made(i, ends=NOW - DAY_S + 0.001) for i in range(7, 10)]
    reservations_write([*old, *young])
    reservations_end([each.id for each in (*old[:3], *young[:1])])
    assert reservations_purge() == 7
    assert Row.objects.count() == 3
    assert reservations_purge() == 0


def test_both_ways_to_the_rows_have_an_index() -> None:
    """On PostgreSQL alone is the planner told not to scan the few rows that there are."""
    reservations_write([made(i, f"j{i}") for i in range(1, 50)])
    with CaptureQueriesContext(connection) as queries:
        list(reservations_open())
        reservations_end_of_job(job_id="j1", miner_id=None)
    assert len(queries) == 2
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    for query, index in zip(queries.captured_queries, ("reservation_expires", "reservation_job"), strict=True):
        explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        with connection.cursor() as cursor:
            cursor.execute(f"{explain} {query['sql']}")
            assert index in str(cursor.fetchall())


def test_failing_means_failing() -> None:
    with failing(), pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
