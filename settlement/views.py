from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from matching.permissions import CoordinatorSecret
from poolhub.common.schema import PROBLEMS, answer
from poolhub.common.views import HubViewSet
from settlement.parameters import PAGE
from settlement.selectors import page_query, settlement_page
from settlement.serializers import SettlementPage


class SettlementViewSet(HubViewSet):
    permission_classes = (CoordinatorSecret,)

    @extend_schema(parameters=PAGE, responses={200: answer(SettlementPage), **PROBLEMS(401, 403, 422, 503)})
    def list(self, request: Request) -> HttpResponse:
        return self.reply(settlement_page(page_query(request.query_params)))
