from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from poolhub.common.requestid import HEADER, request_id_of


class RequestIdMiddleware:
    """Every response carries X-Request-ID: the caller's, if sane."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_of(request)
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
