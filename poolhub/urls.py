from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path

from poolhub.views import DocsView, HealthViewSet, MetricsViewSet, SchemaViewSet

read: dict[str, Any] = {"get": "retrieve"}

urlpatterns = [
    path("", include("matching.urls")),  # first: a match should not wait until every other route has been tried
    path("admin/", admin.site.urls),
    re_path(r"^health/?\Z", HealthViewSet.as_view(read)),
    re_path(r"^v1/health/?\Z", HealthViewSet.as_view(read)),
    re_path(r"^v1/metrics/?\Z", MetricsViewSet.as_view(read)),
    re_path(r"^v1/schema/?\Z", SchemaViewSet.as_view(read), name="schema"),
    re_path(r"^v1/docs/?\Z", DocsView.as_view(), name="docs"),
    path("", include("market.urls")),  # before miners: /v1/miners/standing is no miner
    path("", include("miners.urls")),
    path("", include("feedback.urls")),
    path("", include("settlement.urls")),
]

handler400 = "poolhub.common.problems.bad_request"
handler403 = "poolhub.common.problems.permission_denied"
handler404 = "poolhub.common.problems.not_found"
handler500 = "poolhub.common.problems.server_error"
