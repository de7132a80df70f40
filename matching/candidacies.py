"""Which matches a miner was a candidate of: one narrow row each, so that a miner's page finds its matches by an index.

Promises: written and purged in the transactions of the match records that they point to, so neither is there without
the other.
"""

from collections.abc import Collection, Iterable
from typing import Any

from django.db import connection

from matching.models import Candidacy
from matching.serializers import MatchAnswer
from poolhub.common import clock

TABLE = Candidacy._meta.db_table
INSERT = f"INSERT INTO {TABLE} (miner_id, record_id, made_at) VALUES "  # noqa: S608 - names of ours
ONE = "(%s, %s, %s)"
CHUNK = 2000  # rows of one statement: SQLite takes 32,766 values


def candidacies_store(records: Iterable[tuple[int, float, MatchAnswer]]) -> None:
    """Of match records that were just stored: primary key, when the match was made (epoch seconds), its answer."""
    adapt = connection.ops.adapt_datetimefield_value
    rows: list[Any] = []
    for pk, at, answer in records:
        made_at = adapt(clock.to_datetime(at))
        rows.extend((each.miner_id, pk, made_at) for each in answer.candidates)
    # past the ORM: an instance for each row would cost several times as much as the insert
    with connection.cursor() as cursor:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            values = [value for row in chunk for value in row]
            cursor.execute(INSERT + ", ".join([ONE] * len(chunk)), values)


def candidacies_purge(record_ids: Collection[int]) -> None:
    Candidacy.objects.filter(record__in=record_ids).delete()
