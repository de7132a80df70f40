"""What several pages show of matches: rankings with their components, and counts, as bars with their numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from matching.scoring.types import Weights
from matching.serializers import WEIGHTS
from miners.admin.shared import miner_urls
from poolhub.common import codec
from poolhub.common.admin import shown_text
from poolhub.common.text import visible

MAX_VALUE = 300  # characters of a value that a table shows


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in [0, 1] with its name and number."""

    name: str
    share: float
    number: str
    note: str = ""

    @property
    def width(self) -> str:
        """Of CSS, whatever the language of the page."""
        return f"{100 * min(max(self.share, 0.0), 1.0):.1f}%"


@dataclass(frozen=True, slots=True)
class Ranked:
    rank: int
    miner_id: str
    score: Bar
    components: list[Bar]
    price: str
    eta_ms: int | None
    region: str
    gpu_name: str
    explain: str
    url: str = ""  # of the miner's page, where one may see it


def job_url(job_id: str) -> str:
    """The page of one job, which stands above this app: it shows what came of the job too."""
    return f"{reverse('admin:job_history')}?{urlencode({'job_id': job_id})}"


@admin.display(description="job")
def job_link(row: Any) -> str:
    """Of whatever has a job_id."""
    return format_html('<a href="{}">{}</a>', job_url(row.job_id), shown_text(row.job_id))


def plain(answer: Any) -> Any:
    """An answer as its JSON reads."""
    return msgspec.json.decode(codec.encode(answer))


def ranking_of(
    candidates: Sequence[Mapping[str, Any]], weights: Weights | None, urls: Mapping[str, str] | None = None
) -> list[Ranked]:
    """Candidates as they were answered, best first. With weights, each component says what it adds to the score."""
    return [_ranked(rank, each, weights, urls or {}) for rank, each in enumerate(candidates, 1)]


def urls_for(request: HttpRequest, miner_ids: Iterable[str]) -> dict[str, str]:
    """Pages of those miners that are still there, for who may see them; one query."""
    return miner_urls(miner_ids) if request.user.has_perm("miners.view_miner") else {}


def bars_of(counts: Mapping[str, int], total: int) -> list[Bar]:
    """The most first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    return [
        Bar(name, number / total if total else 0.0, f"{number:,}", _percent(number, total)) for name, number in most
    ]


def price_text(price: float) -> str:
    """Without the zeros at its end."""
    return f"{price:.8f}".rstrip("0").rstrip(".")


def value_text(value: Any) -> str:
    """A value of a constraint, as one reads it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:,.0f}"
    text = ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
    return visible(text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]} …")


def _ranked(rank: int, each: Mapping[str, Any], weights: Weights | None, urls: Mapping[str, str]) -> Ranked:
    score = float(each.get("score", 0))
    parts: Mapping[str, float] = each.get("components") or {}
    return Ranked(
        rank=rank,
        miner_id=visible(str(each.get("miner_id", ""))),
        score=Bar("score", score, f"{score:.4f}"),
        components=[_component(name, float(parts[name]), weights) for name in WEIGHTS if name in parts],
        price=price_text(float(each.get("price", 0))),
        eta_ms=each.get("eta_ms"),
        region=visible(str(each.get("region", ""))),
        gpu_name=visible(str(each.get("gpu_name", ""))),
        explain=visible(str(each.get("explain", ""))),
        url=urls.get(str(each.get("miner_id", "")), ""),
    )


def _component(name: str, value: float, weights: Weights | None) -> Bar:
    if weights is None:
        return Bar(name, value, f"{value:.2f}")
    share = getattr(weights, name) / sum(getattr(weights, each) for each in WEIGHTS)
    return Bar(name, value, f"{value:.2f}", f"{share:.0%} of the score: adds {share * value:.3f}")


def _percent(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else ""
