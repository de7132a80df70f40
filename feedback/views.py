from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from feedback.serializers import FeedbackAnswer, FeedbackRequest
from feedback.services import feedback_record
from matching.permissions import CoordinatorSecret
from matching.reservations.holds import Outcome
from poolhub.common.schema import PROBLEMS, answer, body
from poolhub.common.views import HubViewSet

PLACES = 6


class FeedbackViewSet(HubViewSet):
    permission_classes = (CoordinatorSecret,)

    @extend_schema(
        request=body(FeedbackRequest),
        responses={
            200: answer(FeedbackAnswer),
            201: answer(FeedbackAnswer),
            **PROBLEMS(400, 401, 403, 404, 409, 422, 503),
        },
    )
    def create(self, request: Request) -> HttpResponse:
        told = self.read(request, FeedbackRequest)
        bind_contextvars(job_id=told.job_id, miner_id=told.miner_id)
        done = feedback_record(
            job_id=told.job_id,
            miner_id=told.miner_id,
            outcome=Outcome(told.outcome),
            latency_ms=told.latency_ms,
            fail_code=told.fail_code,
            tokens_spent=told.tokens_spent,
        )
        made = FeedbackAnswer(
            job_id=told.job_id,
            miner_id=told.miner_id,
            outcome=told.outcome,
            trust_score=round(done.trust, PLACES),
            duplicate=done.duplicate,
        )
        return self.reply(made, status=200 if done.duplicate else 201)
