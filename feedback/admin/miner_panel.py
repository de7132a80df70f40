"""A miner's trust with its evidence, and what was last told of it, on the miner's page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from feedback.curve import Point, Told, curve
from feedback.models import Feedback
from feedback.services import DAY_S, evidence_of
from matching.admin.shown import job_url
from matching.reservations.holds import Outcome
from miners.admin.panels import Panel, panel_add
from miners.admin.shared import tokens_text
from miners.models import Miner
from poolhub.common import clock
from poolhub.common.admin import AtLeast
from poolhub.common.text import visible

MAX_TOLD, MAX_COUNTED, MAX_SHOWN = 100, 10_000, 8
VARIANTS = {"completed": "success", "failed": "danger", "rejected": "warning", "accepted": "info"}


@dataclass(frozen=True, slots=True)
class Chart:
    """Of an SVG, in its own units."""

    width: int = 460
    height: int = 150
    left: int = 30
    top: int = 8
    bottom: int = 22

    @property
    def right(self) -> int:
        return self.width - 8

    @property
    def low(self) -> int:
        return self.height - self.bottom

    def x(self, at: float, first: float, last: float) -> float:
        share = (at - first) / (last - first) if last > first else 1.0
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, trust: float) -> float:
        return round(self.low - trust * (self.low - self.top), 1)


CHART = Chart()


def chart_of(points: Sequence[Point]) -> dict[str, Any]:
    first, last = points[0].at, points[-1].at
    placed = [(CHART.x(each.at, first, last), CHART.y(each.trust), each) for each in points]
    # of those at one place the last is seen anyway
    dots = {(round(x), round(y)): (x, y, each) for x, y, each in placed if each.told and each.told.outcome in SEEN}
    return {
        "chart": CHART,
        "line": " ".join(f"{x:g},{y:g}" for x, y, _ in placed),
        "grid": [(CHART.y(level), f"{level:g}") for level in (0.0, 0.5, 1.0)],
        "dots": [
            {
                "x": f"{x:g}", "y": f"{y:g}", "kind": each.told.outcome.value if each.told else "",
                "note": f"{each.told.outcome.value if each.told else ''}: {each.trust:.3f} at {_time(each.at)} UTC",
            }
            for x, y, each in dots.values()
        ],
        "first": _time(first),
        "last": _time(last),
    }  # fmt: skip


SEEN = (Outcome.COMPLETED, Outcome.FAILED, Outcome.REJECTED)  # the others leave trust as it is


def told_of(miner: Miner) -> list[Feedback]:
    """The last ones, the newest first; read once for each object."""
    kept = vars(miner)
    if "_told" not in kept:
        kept["_told"] = list(Feedback.objects.filter(miner=miner).order_by("-created_at", "-id")[:MAX_TOLD])
    rows: list[Feedback] = kept["_told"]
    return rows


def _trust(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    now, half_life_s = clock.now(), settings.TRUST_HALF_LIFE_DAYS * DAY_S
    rows = told_of(miner)
    known = Feedback.objects.filter(miner=miner).order_by().values("pk")[: MAX_COUNTED + 1].count()
    told = [Told(each.created_at.timestamp(), Outcome(each.outcome), each.fail_code) for each in reversed(rows)]
    kept = evidence_of(miner)
    faded = kept.faded(now, half_life_s=half_life_s)
    counts = Counter(each.outcome for each in rows)
    return {
        "trust": f"{faded.trust():.3f}",
        "s": f"{faded.s:.2f}",
        "f": f"{faded.f:.2f}",
        "known": AtLeast(MAX_COUNTED) if known > MAX_COUNTED else known,
        "looked_at": len(rows),
        "counts": [(name, VARIANTS[name], counts[name]) for name in VARIANTS if counts[name]],
        "half_life_days": settings.TRUST_HALF_LIFE_DAYS,
        "of_chart": chart_of(curve(told, kept, now=now, half_life_s=half_life_s)) if told else None,
    }


def _feedback(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    return {
        "rows": [
            {
                "of": each,
                "job": visible(each.job_id),
                "job_url": job_url(each.job_id),
                "variant": VARIANTS[each.outcome],
                "fail_code": visible(each.fail_code),
                "tokens": "" if each.tokens_spent is None else tokens_text(each.tokens_spent),
            }
            for each in told_of(miner)[:MAX_SHOWN]
        ],
        "all_url": f"{reverse('admin:feedback_feedback_changelist')}?{urlencode({'q': miner.miner_id})}",
    }


def _time(at: float) -> str:
    return f"{clock.to_datetime(at):%Y-%m-%d %H:%M}"


MAY_SEE = "feedback.view_feedback"
panel_add(Panel("Trust", "feedback/admin/panel_trust.html", MAY_SEE, 30, _trust))
panel_add(Panel("Recent feedback", "feedback/admin/panel_feedback.html", MAY_SEE, 40, _feedback))
