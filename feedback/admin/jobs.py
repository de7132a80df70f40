"""The history of one job on one page: what was asked, who was offered and why, what came of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from feedback.models import Feedback
from matching.admin.playground import playground_url
from matching.admin.shown import Bar, Ranked, bars_of, ranking_of, urls_for
from matching.models import MatchRecord, Reservation
from matching.queries import weights_by_default, weights_of
from matching.scoring.types import Weights
from matching.serializers import WeightsBody
from miners.admin.shared import tokens_text
from poolhub.common import clock, codec
from poolhub.common.admin import shown_json
from poolhub.common.errors import HubError
from poolhub.common.text import visible

MAX_MATCHES, MAX_TOLD, MAX_RESERVATIONS = 20, 200, 50
MAX_JOB_ID = 128
MAY_SEE_MATCHES, MAY_SEE_FEEDBACK = "matching.view_matchrecord", "feedback.view_feedback"
GOOD = {"completed": "good", "accepted": "", "rejected": "bad", "failed": "bad"}


@dataclass(frozen=True, slots=True)
class Matched:
    record: MatchRecord
    explain: str
    url: str
    ranking: list[Ranked]
    rejected: list[Bar]
    asked: str  # the body, as HTML
    again_url: str
    reservation_id: str


@dataclass(frozen=True, slots=True, order=True)
class Event:
    at: datetime
    what: str
    kind: str = field(default="", compare=False)  # of the stylesheet
    miner_id: str = field(default="", compare=False)
    miner_url: str = field(default="", compare=False)
    note: str = field(default="", compare=False)
    url: str = field(default="", compare=False)


def job_history(request: HttpRequest, context: Mapping[str, Any]) -> HttpResponse:
    user: User | AnonymousUser = request.user
    sees_matches, sees_feedback = user.has_perm(MAY_SEE_MATCHES), user.has_perm(MAY_SEE_FEEDBACK)
    if not (sees_matches or sees_feedback):
        raise PermissionDenied
    job_id = request.GET.get("job_id", "")
    if not job_id and sees_matches:
        return HttpResponseRedirect(reverse("admin:matching_matchrecord_changelist"))
    known = 0 < len(job_id) <= MAX_JOB_ID and "\x00" not in job_id  # PostgreSQL takes no NUL
    records = _records(job_id) if known and sees_matches else []
    told = _told(job_id) if known and sees_feedback else []
    reservations = _reservations(job_id) if known and user.has_perm("matching.view_reservation") else []
    offered = {str(each.get("miner_id")) for record in records for each in record.candidates}
    urls = urls_for(
        request, offered | {each.miner.miner_id for each in told} | {each.miner_id for each in reservations}
    )
    page = {
        **context,
        "title": "Job history",
        "opts": MatchRecord._meta,
        "job_id": job_id,
        "shown_job": visible(job_id),
        "matches": [_matched(each, urls) for each in records],
        "more": len(records) == MAX_MATCHES,
        "events": _events(records, told, reservations, urls),
        "nothing": not (records or told or reservations),
        "sees_matches": sees_matches,
        "sees_feedback": sees_feedback,
        "list_url": reverse("admin:matching_matchrecord_changelist") if sees_matches else "",
    }
    return TemplateResponse(request, "feedback/admin/job.html", page)


# ---- one query each


def _records(job_id: str) -> list[MatchRecord]:
    return list(MatchRecord.objects.filter(job_id=job_id).order_by("-id")[:MAX_MATCHES])


def _told(job_id: str) -> list[Feedback]:
    found = Feedback.objects.filter(job_id=job_id).select_related("miner").only(
        "job_id", "outcome", "latency_ms", "fail_code", "tokens_spent", "created_at", "miner__miner_id"
    )  # fmt: skip
    return list(found.order_by("-id")[:MAX_TOLD])


def _reservations(job_id: str) -> list[Reservation]:
    return list(Reservation.objects.filter(job_id=job_id).order_by("-expires_at", "id")[:MAX_RESERVATIONS])


# ---- as the page shows them


def _matched(record: MatchRecord, urls: Mapping[str, str]) -> Matched:
    return Matched(
        record=record,
        explain=visible(record.explain),
        url=reverse("admin:matching_matchrecord_change", args=[record.pk]),
        ranking=ranking_of(record.candidates, _weights(record.request), urls),
        rejected=bars_of(record.rejected, record.considered),
        asked=shown_json(record.request),
        again_url=playground_url(record=record.pk),
        reservation_id="" if record.reservation_id is None else str(record.reservation_id),
    )


def _weights(asked: Mapping[str, Any]) -> Weights | None:
    """Those that were asked for; without them the default as it is now. None where they cannot be read."""
    hints = asked.get("hints")
    body = hints.get("weights") if isinstance(hints, Mapping) else None
    if body is None:
        return weights_by_default()
    try:
        weights: WeightsBody = codec.convert(body, WeightsBody)
    except (HubError, msgspec.ValidationError):
        return None
    return weights_of(weights)


def _events(
    records: Iterable[MatchRecord], told: Iterable[Feedback], reservations: Iterable[Reservation],
    urls: Mapping[str, str],
) -> list[Event]:  # fmt: skip
    """In the order of time."""
    events = [*map(_match_event, records), *map(_told_event, told), *map(_reserved_event, reservations)]
    return sorted(replace(each, miner_url=urls.get(each.miner_id, "")) for each in events)


def _match_event(record: MatchRecord) -> Event:
    offered = [str(each.get("miner_id")) for each in record.candidates]
    what = f"matched: {record.eligible} of {record.considered} eligible" if offered else "matched with nobody"
    note = f"offered {', '.join(offered)}" if offered else record.explain
    if record.reservation_id is not None:
        note += ", the first reserved"
    return Event(record.created_at, what, "" if offered else "bad", note=visible(note), url=f"#match-{record.pk}")


def _told_event(told: Feedback) -> Event:
    parts = [
        "" if told.latency_ms is None else f"{told.latency_ms:g} ms",
        "" if told.tokens_spent is None else f"{tokens_text(told.tokens_spent)} tokens",
        visible(told.fail_code),
    ]
    note = ", ".join(filter(None, parts))
    return Event(told.created_at, told.outcome, GOOD.get(told.outcome, ""), told.miner.miner_id, note=note)


def _reserved_event(reservation: Reservation) -> Event:
    if reservation.ended_at is not None:
        return Event(reservation.ended_at, "reservation ended", "", reservation.miner_id, note=str(reservation.pk))
    over = reservation.expires_at <= clock.to_datetime(clock.now())
    what = "reservation ran out" if over else "reserved until then"
    return Event(reservation.expires_at, what, "bad" if over else "", reservation.miner_id, note=str(reservation.pk))
