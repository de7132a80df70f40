"""Whether the outbox and the feedback agree. Looking changes nothing; rows are read in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery

from feedback.models import Feedback
from matching.reservations.holds import Outcome
from miners.models import Miner
from settlement.backends.runtime import open_backend
from settlement.models import SettlementEvent
from settlement.payload import body_of
from settlement.services.outbox import data_of, event_write

CHUNK = 1000


class Kind(StrEnum):
    NO_EVENT = "no event"
    NO_FEEDBACK = "no feedback"
    AMOUNT = "amount differs"
    BODY = "body differs from its columns"
    GONE = "not on the chain"


@dataclass(frozen=True, slots=True)
class Disagreement:
    kind: Kind
    job_id: str
    miner_id: str
    detail: str


def disagreements() -> Iterator[Disagreement]:
    """Events of miners that were removed are not among them: their feedback went with them."""
    for feedback in _without_event().iterator(CHUNK):
        detail = f"completed at {feedback.created_at:%Y-%m-%d %H:%M:%S}, {feedback.tokens_spent} tokens"
        yield Disagreement(Kind.NO_EVENT, feedback.job_id, feedback.miner.miner_id, detail)
    told = _settled().filter(job_id=OuterRef("job_id"), miner__miner_id=OuterRef("miner_id"))
    known = SettlementEvent.objects.filter(Exists(Miner.objects.filter(miner_id=OuterRef("miner_id")))).order_by("id")
    for event in known.filter(~Exists(told)).iterator(CHUNK):
        yield Disagreement(Kind.NO_FEEDBACK, event.job_id, event.miner_id, event.public_id)
    amounts = known.annotate(told=Subquery(told.values("tokens_spent")[:1]))
    for event in amounts.filter(told__isnull=False).exclude(told=F("tokens_spent")).iterator(CHUNK):
        detail = f"{event.public_id}: {event.tokens_spent} tokens in the event, {event.told} in the feedback"
        yield Disagreement(Kind.AMOUNT, event.job_id, event.miner_id, detail)
    for event in SettlementEvent.objects.order_by("id").iterator(CHUNK):
        if event.body != body_of(data_of(event)):
            yield Disagreement(Kind.BODY, event.job_id, event.miner_id, event.public_id)
    backend = open_backend()
    if backend is not None:
        try:
            for event in backend.gone():
                yield Disagreement(Kind.GONE, event.job_id, event.miner_id, f"{event.public_id}: {event.transaction}")
        finally:
            backend.close()


def events_fill() -> int:
    """Write the events that are missing, as of feedback from before there was an outbox; how many."""
    count = 0
    for pk in list(_without_event().values_list("pk", flat=True)):
        with transaction.atomic():
            feedback = Feedback.objects.select_related("miner").get(pk=pk)
            event_write(feedback=feedback, miner=feedback.miner, late=True)
        count += 1
    return count


def _settled() -> QuerySet[Feedback]:
    return Feedback.objects.filter(outcome=Outcome.COMPLETED.value, tokens_spent__isnull=False)


def _without_event() -> QuerySet[Feedback]:
    event = SettlementEvent.objects.filter(job_id=OuterRef("job_id"), miner_id=OuterRef("miner__miner_id"))
    return _settled().filter(~Exists(event)).select_related("miner").order_by("id")
