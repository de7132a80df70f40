from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from market.selectors import MAX_TEXT, market_prices
from market.serializers import MarketPrices
from poolhub.common.schema import PROBLEMS, answer
from poolhub.common.views import HubViewSet

MAX_AGE_S = 60
TEXT = {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*$"}
FILTERS = [
    OpenApiParameter("model", TEXT, description="A GPU's name: `NVIDIA GeForce RTX 4090` and `4090` are one."),
    OpenApiParameter("region", TEXT, description="`*`: all regions together; empty: named by no feed."),
]


class MarketViewSet(HubViewSet):
    """For anyone."""

    @extend_schema(parameters=FILTERS, responses={200: answer(MarketPrices), 304: None, **PROBLEMS(422)})
    def prices(self, request: Request) -> HttpResponse:
        shown = market_prices(request.query_params)
        headers = {"ETag": shown.etag, "Cache-Control": f"public, max-age={MAX_AGE_S}"}
        asked = request.META.get("HTTP_IF_NONE_MATCH", "")
        if asked.strip() == "*" or shown.etag in [each.strip().removeprefix("W/") for each in asked.split(",")]:
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(shown.body, content_type="application/json", headers=headers)
