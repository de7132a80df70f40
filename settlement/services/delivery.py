"""Delivery of the outbox.

Promises. Every event is delivered at least once, with the same id and body each time: an event is marked as delivered
only after the receiver has said so, so a worker that is killed in between sends it again, once its claim has run out.
Events of one miner go out in the order of its feedback, one after another; a dead one no longer holds up those behind
it. Any number of workers may deliver at once: each event is claimed by one of them (PostgreSQL: rows that another is
claiming are passed over; SQLite: there is one writer). No transaction is open while a receiver is waited for.
"""

import logging
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from poolhub.common import clock
from poolhub.common.metrics import SETTLEMENTS
from settlement import backoff
from settlement.backends.base import Backend, Delivered, Failed, Gone, Later, Result, Sent
from settlement.backends.runtime import open_backend
from settlement.choices import State
from settlement.models import SettlementEvent, SettlementPause

logger = logging.getLogger(__name__)

ROUND_S = 20.0  # then a caller that has other things to do gets its turn
LEASES, LEASE_MARGIN_S = 3, 1.0  # a claim lasts for three times what a delivery may take
MAX_ERROR = 300


def events_deliver(*, stop: threading.Event | None = None, round_s: float = ROUND_S) -> Counter[str]:
    """Deliver what is due, for as long as there is something and the round lasts; how many went how."""
    went: Counter[str] = Counter()
    if not _due(_now()).exists() and not _sent().exists():  # without a writer's lock
        return went
    backend = open_backend()
    if backend is None:
        return went
    stop, until = stop or threading.Event(), monotonic() + round_s
    try:
        went += _follow(backend)
        while monotonic() < until and not stop.is_set() and not is_paused(backend.target):
            events = _claim(backend)
            if not events:
                break
            went += _deliver(backend, events, stop)
    finally:
        backend.close()
    return went


def is_paused(target: str) -> bool:
    return SettlementPause.objects.filter(target=target).exists()


def _now() -> datetime:
    return clock.to_datetime(clock.now())


def _due(now: datetime) -> QuerySet[SettlementEvent]:
    """The oldest waiting event of each miner, where its time has come and nobody is at it."""
    waiting = SettlementEvent.objects.filter(state=State.PENDING)
    older = waiting.filter(miner_id=OuterRef("miner_id"), id__lt=OuterRef("id"))
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return waiting.filter(~Exists(older), free, next_attempt_at__lte=now).order_by("next_attempt_at", "id")


def _sent() -> QuerySet[SettlementEvent]:
    return SettlementEvent.objects.filter(state=State.SENT)


def _follow(backend: Backend) -> Counter[str]:
    """Take in how ended what was sent before. Where nothing is sent, nothing is asked."""
    went: Counter[str] = Counter()
    if not _sent().exists():
        return went
    for each in backend.follow():
        event = each.event
        with transaction.atomic():
            held = SettlementEvent.objects.select_for_update().get(pk=event.pk)
            if held.state == State.DELIVERED:
                continue
            if isinstance(each.result, Failed) and held.state == State.SENT:
                # as if it had been claimed just now: the attempt that sent it is the one that failed
                held.claim, held.state = uuid.uuid4(), State.PENDING
                held.save(update_fields=["claim", "state"])
            SettlementEvent.objects.filter(pk=event.pk).update(transaction=each.transaction)
            went[_end(held, each.result)] += 1
    return went


def _claim(backend: Backend) -> list[SettlementEvent]:
    """Events that are this caller's alone until their claim runs out. Each counts as an attempt from here on."""
    now, claim = _now(), uuid.uuid4()
    until = now + timedelta(seconds=LEASES * backend.limit_s + LEASE_MARGIN_S)
    with transaction.atomic():
        rows = list(_due(now).select_for_update(skip_locked=True).values_list("id", flat=True)[: backend.parallel])
        mine = SettlementEvent.objects.filter(id__in=rows)
        mine.update(claim=claim, claimed_until=until, attempts=F("attempts") + 1)
        return list(mine.order_by("next_attempt_at", "id")) if rows else []


def _deliver(backend: Backend, events: Sequence[SettlementEvent], stop: threading.Event) -> Counter[str]:
    went: Counter[str] = Counter()
    with _executor(backend) as threads:
        under_way: dict[Future[Result], SettlementEvent] = {}
        for event in events:
            if stop.is_set():
                _release(event)
            elif event.attempts > settings.SETTLEMENT_ATTEMPTS:
                went[_end(event, Failed("the worker did not survive the last attempt"))] += 1
            else:
                under_way[threads.submit(_try, backend, event)] = event
        for future in as_completed(under_way):
            event, result = under_way[future], future.result()
            if isinstance(result, Gone):
                _pause(backend.target, result.error)
            went[_end(event, result)] += 1
    return went


class _Here(Executor):
    """Runs what is submitted at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> Future[Result]:  # type: ignore[override]  # results alone
        done: Future[Result] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _executor(backend: Backend) -> Executor:
    if backend.parallel == 1:
        return _Here()
    return ThreadPoolExecutor(backend.parallel, thread_name_prefix="settlement")


def _try(backend: Backend, event: SettlementEvent) -> Result:
    """In a thread of its own, where there are several: no database here."""
    try:
        return backend.deliver(event)
    except Exception as error:
        logger.exception("settlement of %s failed", event.public_id)
        return Failed(f"{type(error).__name__}: {error}")


def _end(event: SettlementEvent, result: Result) -> str:
    """Write how it went; the word that it is counted under."""
    now, mine = _now(), SettlementEvent.objects.filter(pk=event.pk, state=State.PENDING, claim=event.claim)
    match result:
        case Delivered():
            # whoever has claimed or given it up since: it is there
            SettlementEvent.objects.filter(pk=event.pk).exclude(state=State.DELIVERED).update(
                state=State.DELIVERED, delivered_at=now, claim=None, claimed_until=None, last_error=""
            )
            outcome = "delivered"
        case Sent():
            mine.update(state=State.SENT, transaction=result.transaction, claim=None, claimed_until=None, last_error="")
            outcome = "sent"
        case Failed() if result.final or event.attempts >= settings.SETTLEMENT_ATTEMPTS:
            mine.update(state=State.DEAD, claim=None, claimed_until=None, last_error=_text(result.error))
            logger.error("settlement event %s is dead: %s", event.public_id, _text(result.error))
            outcome = "dead"
        case Failed():
            wait = backoff.wait_s(event.attempts, random.random(), asked_s=result.retry_after_s)  # noqa: S311 - jitter
            mine.update(
                next_attempt_at=now + timedelta(seconds=wait), claim=None, claimed_until=None,
                last_error=_text(result.error),
            )  # fmt: skip
            outcome = "failed"
        case Later():
            mine.update(
                next_attempt_at=now + timedelta(seconds=result.wait_s), claim=None, claimed_until=None,
                attempts=F("attempts") - 1, last_error=_text(result.note),
            )  # fmt: skip
            outcome = "later"
        case Gone():
            mine.update(claim=None, claimed_until=None, attempts=F("attempts") - 1, last_error=_text(result.error))
            outcome = "gone"
    SETTLEMENTS.labels(outcome=outcome).inc()
    return outcome


def _release(event: SettlementEvent) -> None:
    """As if it had not been claimed."""
    SettlementEvent.objects.filter(pk=event.pk, claim=event.claim).update(
        claim=None, claimed_until=None, attempts=F("attempts") - 1
    )


def _pause(target: str, reason: str) -> None:
    _, new = SettlementPause.objects.get_or_create(
        target=target, defaults={"reason": _text(reason), "created_at": _now()}
    )
    if new:
        logger.error("settlement rests until an operator resumes it: %s", reason)


def _text(error: str) -> str:
    return error.replace("\x00", "")[:MAX_ERROR]
