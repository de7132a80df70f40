"""Tracing as an option: what a real hub sends to a collector, and that without one nothing of it is there."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from poolhub import otel
from poolhub.common import tracing
from tests.collector import Collector, running_collector
from tests.hub import ROOT, LiveHub, hub_environment
from tests.waiting import until

TRACE, TOLD, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as made:
        yield made


def match(hub: LiveHub, job_id: str, **headers: str) -> httpx.Response:
    body = {"job_id": job_id, "reserve": True}
    return httpx.post(f"{hub.base}/v1/match", json=body, headers={**hub.coordinator, **headers}, timeout=10)


def attributes(span: Span) -> dict[str, str]:
    """Those that are text."""
    return {each.key: each.value.string_value for each in span.attributes if each.value.HasField("string_value")}


@pytest.mark.once
def test_a_match_is_a_trace_with_its_phases(start_hub, collector) -> None:
    hub = start_hub(OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/", TRACE_SAMPLE="1", LOG_FORMAT="json")
    miner = {"miner_id": "m1", "api_key": "key-0123456789abcdef", "addr": "h:1"}
    assert httpx.post(f"{hub.base}/v1/miners/register", json=miner, timeout=10).is_success
    assert match(hub, "job-1", traceparent=f"00-{TRACE}-{PARENT}-00").json()["reservation"]
    told = {"job_id": "job-1", "miner_id": "m1", "outcome": "completed"}
    sent = {**hub.coordinator, "traceparent": f"00-{TOLD}-{PARENT}-00"}
    assert httpx.post(f"{hub.base}/v1/feedback", json=told, headers=sent, timeout=10).is_success
    until(lambda: "chore settlement" in {span.name for span in collector.spans})
    assert hub.stop() == 0  # what waits is sent
    assert (collector.paths, collector.services) == ({"/v1/traces"}, {"poolhub"})
    found = collector.of(TRACE)
    ids = {span.span_id: name for name, span in found.items()}
    assert {name: ids.get(span.parent_span_id, span.parent_span_id.hex()) for name, span in found.items()} == {
        "POST /v1/match": PARENT, "match": "POST /v1/match", "rank": "match", "claim": "match", "keep": "match",
        "answer": "match", "filter": "rank", "score": "rank", "explain": "rank",
    }  # fmt: skip
    assert attributes(found["match"]) == {"job_id": "job-1"}
    assert {name: attributes(span) for name, span in collector.of(TOLD).items()} == {
        "POST /v1/feedback": {"http.request.method": "POST", "http.route": "/v1/feedback"},
        "feedback": {"job_id": "job-1"},
    }
    names = {span.name for span in collector.spans}
    assert "POST /v1/miners/register" in names
    assert not [name for name in names if "health" in name]
    registered = next(span for span in collector.spans if span.name == "POST /v1/miners/register")
    assert f'"trace_id": "{registered.trace_id.hex()}"' in hub.log.read_text()


@pytest.mark.once
def test_a_caller_cannot_have_itself_sampled(start_hub, collector) -> None:
    hub = start_hub(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACE_SAMPLE="0")
    assert match(hub, "job-1", traceparent=f"00-{TRACE}-{PARENT}-01").is_success
    assert hub.stop() == 0
    assert collector.spans == []


@pytest.mark.once
@pytest.mark.parametrize("listens", [False, True], ids=["away", "silent"])
def test_a_collector_that_takes_nothing_costs_no_request_and_no_stop(start_hub, listens) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        if listens:  # it is connected to, and never answers
            deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        hub = start_hub(OTEL_EXPORTER_OTLP_ENDPOINT=url, TRACE_SAMPLE="1", OTEL_BSP_SCHEDULE_DELAY="100")
        for number in range(20):
            assert match(hub, f"job-{number}").is_success
        assert hub.stop(limit_s=otel.END_S + 10) == 0


@pytest.mark.pure
def test_without_a_collector_nothing_of_it_is_imported() -> None:
    """redis-py takes a part of it by itself, where it is installed."""
    names = "('opentelemetry.exporter', 'opentelemetry.sdk.trace')"
    code = f"import poolhub.asgi, sys; print([name for name in sys.modules if name.startswith({names})])"
    env = {**hub_environment("sqlite:///x.sqlite3", 0), "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.pure
def test_a_collector_without_the_packages_stops_the_start(tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    env = hub_environment(
        "sqlite:///x.sqlite3", 0, OTEL_EXPORTER_OTLP_ENDPOINT="http://h:4318", PYTHONPATH=str(tmp_path)
    )
    code = "import poolhub.settings"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    told = "pool-hub does not start: OTEL_EXPORTER_OTLP_ENDPOINT: it needs the packages of requirements-otel.txt\n"
    assert (done.returncode, done.stderr) == (2, told)


@pytest.mark.pure
def test_routes_are_named_as_paths_are_written() -> None:
    from django.urls import resolve

    paths = {"/v1/match": "/v1/match", "/v1/miners/m1/commands/": "/v1/miners/{miner_id}/commands"}
    assert {path: otel.readable(resolve(path).route) for path in paths} == paths
    assert otel.readable("admin/") == "/admin/"


@pytest.mark.pure
def test_a_span_without_a_tracer_is_nothing() -> None:
    assert tracing.tracer() is None
    with tracing.span("match") as span:
        tracing.note(job_id="j")
    assert span is None
    assert os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "") == ""


@pytest.mark.pure
def test_a_span_that_fails_tells_nothing_of_the_exception_but_its_class() -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracing.use(provider.get_tracer("test"))
    try:
        with pytest.raises(ValueError, match="hidden"), tracing.span("match"):  # noqa: PT012 - the span ends by it
            tracing.failed(ValueError("hidden"))
            raise ValueError("hidden")
    finally:
        tracing.use(None)
        provider.shutdown()
    (span,) = kept.get_finished_spans()
    assert (span.attributes, span.events, span.status.description) == ({"error.type": "ValueError"}, (), None)
    assert span.status.status_code.value == Status.STATUS_CODE_ERROR
