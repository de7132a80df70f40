"""The base of every REST view: JSON in by msgspec, JSON out as bytes, whatever ``Accept`` says."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from poolhub.common import codec
from poolhub.common.errors import UnsupportedMediaType

T = TypeVar("T")


class FirstRenderer(BaseContentNegotiation):
    """What a view answers with does not depend on ``Accept``."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or "application/json"


class HubViewSet(ViewSet):
    authentication_classes = ()
    parser_classes = ()
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = FirstRenderer
    throttle_classes = ()
    metadata_class = None
    http_method_names = ["get", "head", "post", "delete"]
    asks_session = False  # for the OpenAPI document

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """DRF's, less what every view here does without: negotiation, versions, authentication (permissions do it;
        DRF's own would put an anonymous user over that of the session), throttles."""
        if (request.method or "").lower() not in self.action_map:
            self.http_method_not_allowed(request)  # before anybody is asked for a secret
        self.check_permissions(request)

    def read(self, request: Request, type: type[T]) -> T:  # noqa: A002 - as codec.decode
        """The body as a ``type``, or 400, 413, 415, 422."""
        if request._request.content_type != "application/json":
            raise UnsupportedMediaType("The body must be application/json.")
        return codec.decode(request._request.body, type)

    def reply(self, obj: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
        return HttpResponse(codec.encode(obj), status=status, content_type="application/json", headers=headers)
