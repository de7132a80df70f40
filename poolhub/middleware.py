import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django_prometheus.middleware import PrometheusAfterMiddleware
from django_prometheus.utils import Time
from structlog.contextvars import bind_contextvars, clear_contextvars

from poolhub.common.errors import Unavailable
from poolhub.common.problems import from_exception, from_status, problem_response
from poolhub.common.requestid import HEADER, request_id_of

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestIdMiddleware:
    """Every response carries X-Request-ID: the caller's, if sane; so does every line of the log until then."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_of(request)
        bind_contextvars(request_id=request_id)
        try:
            response = self.get_response(request)
        finally:
            clear_contextvars()  # and what the views have bound: the thread serves others
        response.headers[HEADER] = request_id
        return response


class MeteredMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # django-prometheus has no types
    """django-prometheus' own, which finds the counter of each set of labels once, and builds no map of all headers."""

    def process_request(self, request: HttpRequest) -> None:
        metrics, headers = self.metrics, request.META
        self.label_metric(metrics.requests_by_method, request, method=self._method(request)).inc()
        self.label_metric(metrics.requests_by_transport, request, transport=self._transport(request)).inc()
        if headers.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest":
            metrics.requests_ajax.inc()
        metrics.requests_body_bytes.observe(int(headers.get("CONTENT_LENGTH") or 0))
        request.prometheus_after_middleware_event = Time()  # type: ignore[attr-defined]  # as its process_response reads

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        if not labels:
            return metric
        key = (metric, *labels.values())
        found = _counters.get(key)
        if found is None:
            found = _counters[key] = metric.labels(**labels)
        return found


_counters: dict[tuple[Any, ...], Any] = {}  # as many as prometheus_client keeps itself


class ProblemMiddleware:
    """Every 4xx and 5xx is problem+json, those that Django's own views answer as pages or without a word too."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = "json" not in response.headers.get("Content-Type", "")  # problems, and health's own answer, are JSON
        if response.status_code < 400 or not is_page or settings.DEBUG:
            return response
        problem = problem_response(from_status(response.status_code), request_id_of(request))
        if "Allow" in response.headers:
            problem.headers["Allow"] = response.headers["Allow"]
        return problem

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A part that is away is 503 on the admin's pages too; all else goes on to Django, which logs it."""
        error = from_exception(exception)
        if error is None or error.status != Unavailable.status:
            return None
        logger.warning("%s %s answered 503: %s", request.method, request.path, exception)
        return problem_response(error, request_id_of(request))
