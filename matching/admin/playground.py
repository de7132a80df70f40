"""The match playground: what a body would be answered now, and why one miner is not among the first.

It asks the services that the API asks, always as a dry run, so that nothing is held, reserved or recorded. Every case
that is short enough has an address of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import INPUT_CLASSES, TEXTAREA_CLASSES

from matching.admin.bodies import Body, BodyForm, relaxed, text_of, values_of
from matching.admin.shown import bars_of, plain, ranking_of, urls_for, value_text
from matching.models import MatchRecord
from matching.queries import NO_HINTS, weights_by_default, weights_of
from matching.serializers import MatchAnswer, MatchRequest, WhyNotAnswer, WhyNotRequest
from matching.services import match_find, match_why_not
from poolhub.common import codec
from poolhub.common.errors import HubError
from poolhub.common.fields import MinerId
from poolhub.common.text import visible

MAX_LINK = 4000  # characters of an address that every proxy and server lets pass
FIRST_BODY: Body = {"job_id": "playground", "top_k": 10}


@dataclass(slots=True)
class Case:
    """What is asked: the body as text, maybe a miner; and what was wrong with them."""

    text: str
    miner_id: str = ""
    form: BodyForm | None = None  # where the form was sent, bound to it
    faults: list[str] = field(default_factory=list)
    miner_faults: list[str] = field(default_factory=list)

    def link(self) -> str:
        asked = {"body": msgspec.json.format(self.text.encode(), indent=-1).decode()}
        return playground_url(**asked, **({"miner_id": self.miner_id} if self.miner_id else {}))


@dataclass(frozen=True, slots=True)
class Eased:
    """A constraint, what dropping it would add, and the case in which it is eased."""

    constraint: str
    asked: str
    adds: int
    relax_to: str
    url: str


@dataclass(frozen=True, slots=True)
class Failed:
    constraint: str
    asked: str
    actual: str
    transient: bool


def playground_url(**params: object) -> str:
    url = reverse("admin:matching_playground")
    return f"{url}?{urlencode(params)}" if params else url


def playground(request: HttpRequest, context: Mapping[str, Any]) -> HttpResponse:
    case = _sent(request) if request.method == "POST" else _linked(request)
    asked = _read(case)
    if request.method == "POST" and asked is not None and not case.miner_faults:
        link = case.link()
        if len(link) <= MAX_LINK:
            return HttpResponseRedirect(link)
        context = {**context, "unlinked": True}
    shown = {} if asked is None else _answered(request, case, asked)
    form = case.form or BodyForm(initial=values_of(_decoded(case.text)))
    page = {
        **context,
        "title": "Match playground",
        "case": case,
        "groups": form.groups(),
        "opened": [title for title, fields in form.groups() if any(each.errors or each.value() for each in fields)],
        "input_class": " ".join(INPUT_CLASSES),
        "area_class": " ".join(TEXTAREA_CLASSES),
        **shown,
    }
    return TemplateResponse(request, "matching/admin/playground.html", page)


def _sent(request: HttpRequest) -> Case:
    """By the form, or as text."""
    miner_id = request.POST.get("miner_id", "").strip()
    if request.POST.get("by") == "json":
        return Case(request.POST.get("body", ""), miner_id)
    form = BodyForm(request.POST)
    return Case(text_of(form.body()), miner_id, form)


def _linked(request: HttpRequest) -> Case:
    miner_id = request.GET.get("miner_id", "").strip()
    body, record = request.GET.get("body"), request.GET.get("record")
    if body is not None:
        return Case(_indented(body), miner_id)
    if record is None:
        return Case(text_of(FIRST_BODY), miner_id)
    known = MatchRecord.objects.filter(pk=int(record)) if record.isascii() and record.isdigit() else None
    found = None if known is None or len(record) > 18 else known.values_list("request", flat=True).first()
    if found is None:
        return Case(
            text_of(FIRST_BODY), miner_id, faults=[f"There is no match record {visible(record[:20])} any more."]
        )
    return Case(text_of(found), miner_id)


def _read(case: Case) -> MatchRequest | None:
    """As the API reads it; None where it would refuse, with the faults told."""
    if case.faults:
        return None
    try:
        return codec.decode(case.text.encode("utf-8", "replace"), MatchRequest)
    except HubError as error:
        beside = [f"{each.field}: {each.detail}" if each.field else each.detail for each in error.errors]
        case.faults = case.form.refuse(error) if case.form else beside or [error.detail]
        case.faults = case.faults or ["Some fields were refused."]
        return None


def _answered(request: HttpRequest, case: Case, asked: MatchRequest) -> dict[str, Any]:
    hints = msgspec.structs.replace(asked.hints or NO_HINTS, explain="full")
    asked = msgspec.structs.replace(asked, dry_run=True, hints=hints)
    found = match_find(request=asked)
    why = _why_not(case, asked) if case.miner_id else None
    miners = [each.miner_id for each in found.candidates]
    weights = weights_by_default() if hints.weights is None else weights_of(hints.weights)
    return {
        "answer": found,
        "ranking": ranking_of(plain(found.candidates), weights, urls_for(request, miners)),
        "rejected": bars_of(found.rejected, found.considered),
        "eased": _eased(case, found),
        "why": why,
        "failed": [] if why is None else _failed(why),
        "cured": why is not None and bool(why.failed) and all(each.transient for each in why.failed),
        "raw": text_of(plain(found)),
        "raw_why": None if why is None else text_of(plain(why)),
    }


def _why_not(case: Case, asked: MatchRequest) -> WhyNotAnswer | None:
    fields = {name: getattr(asked, name) for name in asked.__struct_fields__}
    try:
        miner_id: str = codec.convert(case.miner_id, MinerId)
        return match_why_not(request=WhyNotRequest(**fields, miner_id=miner_id))
    except HubError as error:
        case.miner_faults = [error.detail]
        return None


def _failed(why: WhyNotAnswer) -> list[Failed]:
    return [
        Failed(each.constraint, value_text(each.asked), value_text(each.actual), each.transient) for each in why.failed
    ]


def _eased(case: Case, found: MatchAnswer) -> list[Eased]:
    """Those that would add somebody, and what the body itself names: nobody eases `offline`."""
    rows = []
    for each in found.relaxations or ():
        to = each.relax_to if isinstance(each.relax_to, float) else None
        body = relaxed(_decoded(case.text), each.constraint, to)
        if body is None or not each.adds:
            continue
        case_url = Case(text_of(body), case.miner_id).link()
        rows.append(
            Eased(each.constraint, value_text(each.asked), each.adds, "" if to is None else f"{to:g}", case_url)
        )
    return rows


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _indented(text: str) -> str:
    try:
        return msgspec.json.format(text.encode("utf-8", "replace"), indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return text
