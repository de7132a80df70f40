"""What matching knows of one miner, on the miner's page: the matches that offered it, and what it holds for jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from matching.admin.playground import playground_url
from matching.admin.shown import job_url, price_text
from matching.models import Candidacy, Reservation
from miners.admin.live import live
from miners.admin.panels import Panel, panel_add
from miners.models import Miner
from poolhub.common import clock
from poolhub.common.text import visible

MAX_MATCHES, MAX_RESERVATIONS = 12, 20


@dataclass(frozen=True, slots=True)
class Offered:
    """One match that offered the miner."""

    job: str
    job_url: str
    at: datetime
    rank: int
    of: int  # candidates
    eligible: int
    score: float
    price: str
    explain: str
    why_url: str  # the same job now, and why this miner is not first


def _matches(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    found = (
        Candidacy.objects.filter(miner_id=miner.miner_id)
        .select_related("record")
        .only("made_at", "record__job_id", "record__candidates", "record__eligible")
        .order_by("-made_at", "-id")[:MAX_MATCHES]
    )
    return {
        "matches": [_offered(each, miner.miner_id) for each in found],
        "why_url": playground_url(miner_id=miner.miner_id),
    }


def _offered(each: Candidacy, miner_id: str) -> Offered:
    candidates: Sequence[Mapping[str, Any]] = each.record.candidates
    ranked = ((rank, one) for rank, one in enumerate(candidates, 1) if one.get("miner_id") == miner_id)
    rank, told = next(ranked, (0, {}))
    return Offered(
        job=visible(each.record.job_id),
        job_url=job_url(each.record.job_id),
        at=each.made_at,
        rank=rank,
        of=len(candidates),
        eligible=each.record.eligible,
        score=float(told.get("score", 0)),
        price=price_text(float(told.get("price", 0))),
        explain=visible(str(told.get("explain", ""))),
        why_url=playground_url(record=each.record_id, miner_id=miner_id),
    )


def _reservations(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    """Live ones, of which there are few: the index of their ends finds them."""
    at = clock.to_datetime(clock.now())
    found = Reservation.objects.filter(expires_at__gt=at, ended_at=None, miner_id=miner.miner_id)
    rows = list(found.order_by("expires_at", "id")[: MAX_RESERVATIONS + 1])
    view = live(miner)
    return {
        "reservations": [
            {"job": visible(each.job_id), "job_url": job_url(each.job_id), "of": each}
            for each in rows[:MAX_RESERVATIONS]
        ],
        "more": len(rows) > MAX_RESERVATIONS,
        "held": 0 if view is None else view.reservations,
    }


WHAT, RECORDS = "matching/admin", "matching.view_matchrecord"
panel_add(Panel("Recent matches that offered it", f"{WHAT}/panel_matches.html", RECORDS, 50, _matches, wide=True))
panel_add(Panel("Reservations", f"{WHAT}/panel_reservations.html", "matching.view_reservation", 60, _reservations))
