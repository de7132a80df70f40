"""Events into the outbox: in the transaction of the feedback that they settle.

Promises: a completed feedback with tokens_spent that is answered has its event, and there is one event for one job on
one miner, whatever comes twice.
"""

import uuid
from datetime import datetime

from feedback.models import Feedback
from feedback.receivers import NewFeedback
from matching.quotes import Quote, quote_find, reservation_find
from matching.reservations.holds import Outcome
from miners.models import Miner
from miners.registry.runtime import get_registry
from miners.tokens import tokens
from poolhub.common import clock
from settlement.choices import PriceAsOf
from settlement.models import SettlementEvent
from settlement.payload import EventData, PriceData, amount_text, body_of, public_id, rounded, time_text


def event_queue(new: NewFeedback) -> None:
    """A receiver of feedback."""
    if is_settled(new.feedback):
        event_write(feedback=new.feedback, miner=new.miner, late=False)


def is_settled(feedback: Feedback) -> bool:
    return feedback.outcome == Outcome.COMPLETED and feedback.tokens_spent is not None


def event_write(*, feedback: Feedback, miner: Miner, late: bool) -> SettlementEvent:
    """Part of the caller's transaction; nothing where there is one. late: long after the feedback, when the price in
    force tells nothing about the job."""
    assert feedback.tokens_spent is not None, "the caller has looked"
    completed_at = feedback.created_at
    accepted_at = _accepted_at(feedback)
    quote = quote_find(job_id=feedback.job_id, miner_id=miner.miner_id, until=accepted_at or completed_at)
    as_of = PriceAsOf.MATCH
    matched_at = None if quote is None else quote.at
    if quote is None and not late:
        quote, as_of = _price_now(miner.miner_id, completed_at), PriceAsOf.FEEDBACK
    event = SettlementEvent(
        uid=uuid.uuid4(),
        job_id=feedback.job_id,
        miner_id=miner.miner_id,
        wallet_address=miner.wallet_address,
        tokens_spent=rounded(feedback.tokens_spent),
        price=None if quote is None else quote.price,
        price_source="" if quote is None else quote.source.value,
        price_as_of="" if quote is None else as_of.value,
        reservation_id=reservation_find(job_id=feedback.job_id, miner_id=miner.miner_id),
        matched_at=matched_at,
        accepted_at=accepted_at,
        completed_at=completed_at,
        next_attempt_at=clock.to_datetime(clock.now()),
    )
    event.body = body_of(data_of(event))
    SettlementEvent.objects.bulk_create([event], ignore_conflicts=True)
    return event


def data_of(event: SettlementEvent) -> EventData:
    """What an event's columns say, as its body must have it."""
    price = None
    if event.price is not None:
        price = PriceData(amount_text(event.price), event.price_source, event.price_as_of)
    completed_at = time_text(event.completed_at)
    assert completed_at is not None, "a column that is never null"
    return EventData(
        event_id=public_id(event.uid),
        job_id=event.job_id,
        miner_id=event.miner_id,
        wallet_address=event.wallet_address,
        tokens_spent=amount_text(event.tokens_spent),
        price=price,
        outcome=Outcome.COMPLETED.value,
        reservation_id=None if event.reservation_id is None else str(event.reservation_id),
        matched_at=time_text(event.matched_at),
        accepted_at=time_text(event.accepted_at),
        completed_at=completed_at,
    )


def _accepted_at(feedback: Feedback) -> datetime | None:
    accepted = Feedback.objects.filter(
        job_id=feedback.job_id, miner_id=feedback.miner_id, outcome=Outcome.ACCEPTED.value
    )
    return accepted.values_list("created_at", flat=True).first()


def _price_now(miner_id: str, at: datetime) -> Quote | None:
    view = get_registry().get(miner_id, now=clock.now())
    return None if view is None else Quote(tokens(view.price), view.price_source, at)
