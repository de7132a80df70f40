"""The benchmark over a real server: a short run, its client, its jobs and its sums."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from benchmarks import rest
from benchmarks.rest import BARE, BATCH, DIFFERENT, EMPTY, LARGE, MATCH, SAME, SMALL, Turns
from benchmarks.serving import client
from benchmarks.serving.client import Connection, Order, Wrong, run
from benchmarks.serving.jobs import SETS, Jobs, different
from matching.serializers import MatchRequest
from poolhub.common import codec
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}'
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{"ok":true}\r\n0\r\n\r\n'


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that gives every request the same answer, in two parts; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                self.request.sendall(answer[:30])
                self.request.sendall(answer[30:])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.bench
def test_a_short_run_has_done_what_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "QUICK_TURNS", 1)
    monkeypatch.setattr(rest, "QUICK_SECONDS", 0.1)
    result = rest.run(options(rest, "--quick"))
    found = result["contestants"]
    assert {name: each["miners"] for name, each in found.items()} == {
        EMPTY: 1_500, BARE: 1_500, MATCH: 1_500, SMALL: 1_000, LARGE: 2_000, SAME: 1_500, DIFFERENT: 1_500,
    }  # fmt: skip
    assert all(each["requests_s"] > 0 and each["cpu_ms"] > 0 for each in found.values())
    assert [figure.read(result) for figure in rest.FIGURES] == [None] * len(rest.FIGURES)  # other sizes
    assert f"| {MATCH} " in rest.tables(result)


def order(port: int, holds: bytes = b'"ok":true') -> Order:
    return Order(port, connections=3, seconds=0.1, requests=[b"GET / HTTP/1.1\r\n\r\n"], holds=holds)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["plain", "chunked"])
def test_the_client_counts_whole_answers(answer: bytes) -> None:
    with answering(answer) as port:
        told = run(order(port))
    assert len(told.latencies_us) > 3
    assert min(told.latencies_us) >= 0
    assert told.seconds >= 0.1


def test_an_answer_that_is_no_success_or_lacks_what_it_must_hold_ends_the_run() -> None:
    with answering(PLAIN) as port, pytest.raises(Wrong):
        run(order(port, holds=b"candidates"))
    with answering(PLAIN.replace(b"200 OK", b"503 No")) as port, pytest.raises(Wrong):
        run(order(port))


def test_a_turn_lasts_until_the_first_answer() -> None:
    with answering(PLAIN) as port:
        told = run(msgspec.structs.replace(order(port), seconds=0.0))
    assert len(told.latencies_us) >= 1


def test_a_server_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_NS", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Wrong, match="not one answer"):
        run(order(silent.getsockname()[1]))


def test_a_server_that_hangs_up_is_told() -> None:
    with answering(b"") as port:
        connection = Connection(port)
        with connection.socket:
            connection.socket.shutdown(1)
            with pytest.raises(Wrong, match="closed"):
                connection.answer()


def test_every_body_is_a_match_for_a_job_of_its_own() -> None:
    jobs = Jobs()
    bodies = [jobs.match(each) for each in SETS]
    bodies += [msgspec.json.encode(each) for each in json.loads(jobs.batch(different(BATCH)))["requests"]]
    asked = [codec.decode(body, MatchRequest) for body in bodies]
    assert len({each.job_id for each in asked}) == len(SETS) + BATCH


def test_a_batch_of_different_sets_has_no_two_alike() -> None:
    assert len({json.dumps(each, sort_keys=True) for each in different(BATCH)}) == BATCH


def test_a_ratio_is_that_of_the_same_turns_and_counts_jobs() -> None:
    def turns(jobs: int, rates: list[float]) -> Turns:
        return Turns(1_000, jobs, rates, [1000 / rate for rate in rates], [100, 200])

    measured = {name: turns(1, [10.0, 20.0, 40.0]) for name in (EMPTY, BARE, SMALL, LARGE)}
    measured[MATCH] = turns(1, [5.0, 16.0, 20.0])  # 0.5, 0.8, 0.5 of the empty view's
    measured[SAME] = measured[DIFFERENT] = turns(BATCH, [1.0, 1.0, 1.0])  # 64 / 5, 64 / 16, 64 / 20
    found = rest.ratios(measured)
    assert found[rest.OF_EMPTY] == {
        "rate": 0.5, "rate_low": 0.5, "rate_high": 0.8, "cpu": 0.5, "p99": 1.0,
    }  # fmt: skip
    assert found[rest.ALIKE]["rate"] == 4.0  # the median is 1 / 16
