from django.urls import re_path

from market.views import MarketViewSet

urlpatterns = [re_path(r"^v1/market/prices/?\Z", MarketViewSet.as_view({"get": "prices"}))]
