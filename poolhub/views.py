"""Routes of api.md §10: health, metrics, and the API's own description."""

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from poolhub import gauges
from poolhub.common.auth import AdminSecret
from poolhub.common.network import is_loopback
from poolhub.common.problems import told
from poolhub.common.schema import PROBLEMS, answer
from poolhub.common.views import FirstRenderer, HubViewSet
from poolhub.health import Health, health
from poolhub.openapi import document

FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via")


class LoopbackOrAdminSecret(AdminSecret):
    """A scraper on this machine needs no secret. What comes through a proxy does, whomever the proxy speaks of."""

    open_on_loopback = True  # for the OpenAPI document

    def has_permission(self, request: Request, view: object) -> bool:
        forwarded = any(name in request.headers for name in FORWARDED)
        if not forwarded and is_loopback(request.META.get("REMOTE_ADDR") or ""):
            return True
        return super().has_permission(request, view)


class HealthViewSet(HubViewSet):
    @extend_schema(responses={200: answer(Health), 503: answer(Health)})
    def retrieve(self, request: Request) -> HttpResponse:
        found = health()
        response = self.reply(found, status=200 if found.status == "ok" else 503)
        response.headers["Cache-Control"] = "no-store"
        return told(response)


class MetricsViewSet(HubViewSet):
    permission_classes: tuple[type[BasePermission], ...] = (LoopbackOrAdminSecret,)

    @extend_schema(responses={(200, "text/plain"): {"type": "string"}, **PROBLEMS(401, 403, 503)})
    def retrieve(self, request: Request) -> HttpResponse:
        return HttpResponse(gauges.exposition(), content_type=CONTENT_TYPE_LATEST)


class SchemaViewSet(HubViewSet):
    @extend_schema(responses={200: {"type": "object"}})
    def retrieve(self, request: Request) -> HttpResponse:
        return HttpResponse(document(), content_type="application/json")


class DocsView(SpectacularSwaggerSplitView):
    """The page on which the schema can be read and tried; all of it comes from this hub."""

    url, url_self = "/v1/schema", "/v1/docs"
    http_method_names = ["get", "head"]
    content_negotiation_class = FirstRenderer
