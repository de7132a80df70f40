"""Routes of api.md §4 and §6: read the request, call one service, answer."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from matching.parameters import RESERVATION_ID
from matching.peers.asking import HOPS
from matching.peers.spillover import batch_anywhere, match_anywhere
from matching.permissions import CoordinatorSecret
from matching.serializers import (
    BatchAnswer,
    BatchBody,
    BatchRequest,
    MatchAnswer,
    MatchRequest,
    RenewRequest,
    ReservationAnswer,
    ReservationPage,
    StandingAnswer,
    WhyNotAnswer,
    WhyNotRequest,
)
from matching.services import (
    match_why_not,
    reservation_list,
    reservation_release,
    reservation_renew,
)
from matching.standing.selectors import standing_get
from miners.parameters import SESSION_TOKEN
from miners.views import SessionViewSet
from poolhub.common import ratelimit
from poolhub.common.auth import meta_name
from poolhub.common.errors import HubError, problem
from poolhub.common.requestid import request_id_of
from poolhub.common.schema import PROBLEMS, answer, body
from poolhub.common.views import HubViewSet

HOPPED = meta_name(HOPS)


class MatchViewSet(HubViewSet):
    permission_classes = (CoordinatorSecret,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        ratelimit.check(request._request, group="match", rate=settings.RATELIMIT_MATCH)

    @extend_schema(
        request=body(MatchRequest), responses={200: answer(MatchAnswer), **PROBLEMS(400, 401, 403, 422, 429, 503)}
    )
    def match(self, request: Request) -> HttpResponse:
        asked = self.read(request, MatchRequest)
        bind_contextvars(job_id=asked.job_id)
        return self.reply(match_anywhere(request=asked, hopped=HOPPED in request.META))

    @extend_schema(
        request=body(BatchBody), responses={200: answer(BatchAnswer), **PROBLEMS(400, 401, 403, 422, 429, 503)}
    )
    def batch(self, request: Request) -> HttpResponse:
        asked = self.read(request, BatchRequest)
        request_id = request_id_of(request._request)
        results = batch_anywhere(requests=asked.requests, hopped=HOPPED in request.META)
        return self.reply(
            {"results": [problem(each, request_id) if isinstance(each, HubError) else each for each in results]}
        )

    @extend_schema(
        request=body(WhyNotRequest),
        responses={200: answer(WhyNotAnswer), **PROBLEMS(400, 401, 403, 404, 422, 429, 503)},
    )
    def why_not(self, request: Request) -> HttpResponse:
        asked = self.read(request, WhyNotRequest)
        bind_contextvars(job_id=asked.job_id, miner_id=asked.miner_id)
        return self.reply(match_why_not(request=asked))


class StandingViewSet(SessionViewSet):
    """For a miner with its session."""

    @extend_schema(parameters=[SESSION_TOKEN], responses={200: answer(StandingAnswer), **PROBLEMS(401, 403, 429)})
    def standing(self, request: Request) -> HttpResponse:
        return self.reply(standing_get(self.session(request).miner_id))


class ReservationViewSet(HubViewSet):
    permission_classes = (CoordinatorSecret,)

    @extend_schema(responses={200: answer(ReservationPage), **PROBLEMS(401, 403, 503)})
    def list(self, request: Request) -> HttpResponse:
        return self.reply(ReservationPage(results=reservation_list()))

    @extend_schema(
        parameters=[RESERVATION_ID],
        request=body(RenewRequest, required=False),
        responses={200: answer(ReservationAnswer), **PROBLEMS(400, 401, 403, 404, 422, 503)},
    )
    def renew(self, request: Request, reservation_id: str) -> HttpResponse:
        asked = self.read(request, RenewRequest) if request._request.body else RenewRequest()
        return self.reply(reservation_renew(reservation_id=reservation_id, ttl_ms=asked.reservation_ttl_ms))

    @extend_schema(parameters=[RESERVATION_ID], responses={204: None, **PROBLEMS(401, 403, 503)})
    def release(self, request: Request, reservation_id: str) -> HttpResponse:
        reservation_release(reservation_id=reservation_id)
        return HttpResponse(status=204)
