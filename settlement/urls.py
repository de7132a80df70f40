from django.urls import re_path

from settlement.views import SettlementViewSet

urlpatterns = [re_path(r"^v1/settlements/?\Z", SettlementViewSet.as_view({"get": "list"}))]
