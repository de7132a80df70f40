"""What a miner was offered a job for: the price at the match, exact, and where the match is known from.

Promises: a match is found as soon as it was answered in this process, and in others a second later, where the job is in
the sample (MATCH_RECORD_SAMPLE) and the process that answered did not crash within that second.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from matching.models import MatchRecord, Reservation
from matching.records import records
from miners.registry.records import PriceSource
from miners.tokens import tokens
from poolhub.common import clock

LOOKED_AT = 20  # matches of one job, the newest of them


@dataclass(frozen=True, slots=True)
class Quote:
    price: Decimal  # tokens per 1,000 s
    source: PriceSource
    at: datetime  # of the match


def quote_find(*, job_id: str, miner_id: str, until: datetime) -> Quote | None:
    """The newest match of the job that offered this miner: of those up to a time, where there is one."""
    found = [*_waiting(job_id, miner_id), *_stored(job_id, miner_id)]
    before = [each for each in found if each.at <= until]
    return max(before or found, key=lambda each: each.at, default=None)


def reservation_find(*, job_id: str, miner_id: str) -> uuid.UUID | None:
    """The newest reservation of that miner for the job; it is known for a day after its end."""
    rows = Reservation.objects.filter(job_id=job_id, miner_id=miner_id).order_by("-expires_at")
    return rows.values_list("id", flat=True).first()


def _waiting(job_id: str, miner_id: str) -> Iterator[Quote]:
    for matched in records.waiting(job_id):
        for each in matched.offered:
            if each.miner_id == miner_id:
                yield Quote(tokens(each.price_units), each.price_source, clock.to_datetime(matched.at))


def _stored(job_id: str, miner_id: str) -> Iterator[Quote]:
    rows = MatchRecord.objects.filter(job_id=job_id).order_by("-id")
    for at, quotes in rows.values_list("created_at", "quotes")[:LOOKED_AT]:
        if miner_id in quotes:
            units, source = quotes[miner_id]
            yield Quote(tokens(units), PriceSource(source), at)
