"""OpenTelemetry tracing, where OTEL_EXPORTER_OTLP_ENDPOINT is set and requirements-otel.txt is installed.

Promises: off, nothing of it is imported. On, spans leave in batches on a thread of their own; a collector that is slow
or away costs the spans, never a request. How many requests are traced is TRACE_SAMPLE alone: a caller's traceparent is
continued, but its wish to be sampled counts for nothing.
"""

import re
import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from structlog.contextvars import bind_contextvars

from poolhub.common import tracing
from poolhub.version import VERSION

TIMEOUT_S = 5
END_S = 5  # so long a stop waits for the collector to take what is left
UNTRACED = ("/health", "/v1/health", "/v1/metrics")  # asked by machines every few seconds
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REMOTE = {"HTTP_TRACEPARENT": "traceparent", "HTTP_TRACESTATE": "tracestate"}

_provider: Any = None


def begin() -> None:
    """Once in each process that serves, after its fork."""
    global _provider
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    ratio = TraceIdRatioBased(settings.TRACE_SAMPLE)
    resource = Resource.create(
        {"service.name": "poolhub", "service.version": VERSION, "service.instance.id": settings.HUB_NAME}
    )
    sampler = ParentBased(ratio, remote_parent_sampled=ratio, remote_parent_not_sampled=ratio)
    _provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)))
    tracing.use(_provider.get_tracer("poolhub", VERSION))


def end() -> None:
    """Send what waits, for END_S at most; safe to call twice, and when nothing was begun."""
    global _provider
    provider, _provider = _provider, None
    tracing.use(None)
    if provider is not None:
        sending = threading.Thread(target=provider.shutdown, daemon=True)  # it would wait for half a minute
        sending.start()
        sending.join(END_S)


def readable(route: str) -> str:
    """A route of regular expressions as paths are written: /v1/miners/{miner_id}."""
    named = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"{\1}", route.removeprefix("^"))
    return "/" + named.removesuffix(r"/?\Z")


class TracingMiddleware:
    """A span a request, named by its route; its id is in the log's lines."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        tracer = tracing.tracer()
        if tracer is None or request.path.rstrip("/") in UNTRACED:
            return self.get_response(request)
        from opentelemetry.propagate import extract  # noqa: PLC0415 - an extra
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        sent = {name: request.META[key] for key, name in REMOTE.items() if key in request.META}
        method = request.method if request.method in METHODS else "_OTHER"  # as OpenTelemetry calls them
        opened = {"context": extract(sent), "kind": SpanKind.SERVER, **tracing.DISCREET}
        with tracer.start_as_current_span(method, **opened) as span:
            if span.is_recording():
                bind_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}")
            response = self.get_response(request)
            if request.resolver_match is not None:
                route = readable(request.resolver_match.route)
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attributes({"http.request.method": method, "http.response.status_code": response.status_code})
            if response.status_code >= 500:
                span.set_status(Status(StatusCode.ERROR))
            return response
