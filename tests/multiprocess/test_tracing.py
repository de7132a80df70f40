"""Every kind of process of a cluster sends its spans, whichever server forked it."""

import json

import pytest
from websockets.sync.client import connect

from tests.waiting import until

pytestmark = pytest.mark.cluster


def test_rest_workers_socket_processes_and_the_worker_send_their_spans(cluster, collector) -> None:
    cluster.register("traced", region="traced")
    asked = {"type": "match", "id": "1", "job_id": "traced-by-stream", "hints": {"region": "traced"}, "dry_run": True}
    for base in cluster.socket_bases:
        with connect(f"{base}/v1/match/stream", additional_headers=cluster.coordinator) as stream:
            stream.send(json.dumps(asked))
            assert json.loads(stream.recv(timeout=10))["type"] == "match.result"
    until(lambda: matches_by_stream(collector) == len(cluster.socket_bases), 10, "the socket processes' spans")
    until(lambda: {"POST /v1/miners/register", "chore rows-recover"} <= names(collector), 10, "the others' spans")


def names(collector) -> set[str]:
    return {span.name for span in list(collector.spans)}


def matches_by_stream(collector) -> int:
    """Of both processes: their matches belong to no request."""
    return sum(
        span.name == "match"
        and not span.parent_span_id
        and any(each.value.string_value == "traced-by-stream" for each in span.attributes)
        for span in list(collector.spans)
    )
