"""Settlement events as coordinators read them, oldest first, and what gauges show of the outbox."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min

from poolhub.common.errors import FieldError, ValidationFailed
from poolhub.common.fields import MINER_ID_PATTERN
from settlement.choices import State
from settlement.models import SettlementEvent
from settlement.payload import amount_text, time_text
from settlement.serializers import SettlementAnswer, SettlementPage, SettlementPrice

MAX_PAGE, DEFAULT_PAGE = 500, 100
WHOLE = re.compile(r"[0-9]{1,18}\Z")
MAX_JOB_ID = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    limit: int = DEFAULT_PAGE
    cursor: int = 0  # the last event seen
    miner_id: str | None = None
    job_id: str | None = None
    state: str | None = None


def page_query(params: Mapping[str, str]) -> PageQuery:
    """From the query string; ValidationFailed with one error a parameter. An empty parameter is left out."""
    given = {name: params[name] for name in PageQuery.__slots__ if params.get(name)}
    errors: list[FieldError] = []

    def refuse(name: str, detail: str) -> None:
        errors.append(FieldError(name, "invalid_value", detail))

    limit, cursor = given.pop("limit", str(DEFAULT_PAGE)), given.pop("cursor", "0")
    if not WHOLE.match(limit) or not 1 <= int(limit) <= MAX_PAGE:
        refuse("limit", f"a whole number from 1 to {MAX_PAGE}")
    if not WHOLE.match(cursor):
        refuse("cursor", "next_cursor of the page before")
    if "miner_id" in given and not re.match(MINER_ID_PATTERN, given["miner_id"]):
        refuse("miner_id", "1 to 64 of A-Z a-z 0-9 . _ : -")
    if "job_id" in given and (len(given["job_id"]) > MAX_JOB_ID or "\x00" in given["job_id"]):
        refuse("job_id", f"a text of at most {MAX_JOB_ID} characters")
    if given.get("state", State.PENDING) not in State.values:
        refuse("state", f"one of {', '.join(State.values)}")
    if errors:
        raise ValidationFailed(errors=errors)
    return PageQuery(limit=int(limit), cursor=int(cursor), **given)


def settlement_page(query: PageQuery) -> SettlementPage:
    """In the order in which they were written."""
    named = {name: value for name in ("miner_id", "job_id", "state") if (value := getattr(query, name)) is not None}
    rows = SettlementEvent.objects.filter(id__gt=query.cursor, **named).order_by("id")[: query.limit + 1]
    found = list(rows)
    shown = found[: query.limit]
    cursor = str(shown[-1].pk) if len(found) > query.limit else None
    return SettlementPage(results=[_answer(each) for each in shown], next_cursor=cursor)


@dataclass(frozen=True, slots=True)
class Outbox:
    pending: int
    dead: int
    oldest_at: datetime | None  # completion of the oldest job that waits


def outbox() -> Outbox:
    waiting = SettlementEvent.objects.filter(state__in=[State.PENDING, State.SENT])
    oldest = waiting.aggregate(first=Min("id"))["first"]
    oldest_at = (
        None if oldest is None else SettlementEvent.objects.values_list("completed_at", flat=True).get(pk=oldest)
    )
    return Outbox(waiting.count(), SettlementEvent.objects.filter(state=State.DEAD).count(), oldest_at)


def _answer(event: SettlementEvent) -> SettlementAnswer:
    price = None
    if event.price is not None:
        price = SettlementPrice(amount_text(event.price), event.price_source, event.price_as_of)
    completed_at = time_text(event.completed_at)
    assert completed_at is not None, "a column that is never null"
    return SettlementAnswer(
        id=event.public_id,
        job_id=event.job_id,
        miner_id=event.miner_id,
        wallet_address=event.wallet_address,
        tokens_spent=amount_text(event.tokens_spent),
        price=price,
        reservation_id=None if event.reservation_id is None else str(event.reservation_id),
        matched_at=time_text(event.matched_at),
        accepted_at=time_text(event.accepted_at),
        completed_at=completed_at,
        state=event.state,
        attempts=event.attempts,
        last_error=event.last_error,
        next_attempt_at=time_text(event.next_attempt_at) if event.state == State.PENDING else None,
        delivered_at=time_text(event.delivered_at),
        transaction=event.transaction or None,
    )
