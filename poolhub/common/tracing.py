"""Spans around what takes time, where tracing is on (poolhub.otel); where it is off they cost a fraction of a µs.

Nothing here knows OpenTelemetry: a tracer is set from outside, so that pure cores may name their phases.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

# of an exception that leaves it a span says nothing: its text may repeat what a stranger sent, or a secret
DISCREET = {"record_exception": False, "set_status_on_exception": False}

_nothing: AbstractContextManager[None] = nullcontext()
_tracer: Any = None


def use(tracer: Any) -> None:
    """An OpenTelemetry tracer, or None: for the whole process, from now on."""
    global _tracer
    _tracer = tracer


def tracer() -> Any:
    return _tracer


def span(name: str) -> AbstractContextManager[Any]:
    if _tracer is None:
        return _nothing
    made: AbstractContextManager[Any] = _tracer.start_as_current_span(name, **DISCREET)
    return made


def note(**attributes: str | float) -> None:
    """Say more of the span that is under way."""
    if _tracer is not None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra requirement, which whoever set a tracer has

        trace.get_current_span().set_attributes(attributes)


def failed(error: Exception) -> None:
    """The span that is under way ends in an error, of which it says the class alone."""
    if _tracer is not None:
        from opentelemetry import trace  # noqa: PLC0415

        span = trace.get_current_span()
        span.set_status(trace.StatusCode.ERROR)
        span.set_attribute("error.type", type(error).__name__)
