"""Peer hubs that answer, and all the ways in which they don't; each is a real HTTP server."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from matching.peers import asking
from matching.peers.asking import HOPS, Peers
from matching.serializers import MatchRequest
from tests.hub import free_port

pytestmark = pytest.mark.pure

SECRET = "a-secret-between-the-hubs"
DEADLINE_S = 1.5
ANSWER = {
    "job_id": "j", "explain": "x", "considered": 3, "eligible": 2, "rejected": {"region": 1},
    "candidates": [{
        "miner_id": "m", "addr": "a:1", "proto": "grpc", "score": 0.5, "eta_ms": None, "price": 0.1, "region": "us",
        "gpu_name": "H100", "explain": "x",
        "components": {"cap": 1.0, "price": 0.5, "latency": 0.5, "trust": 0.5, "load": 0.5},
    }],
}  # fmt: skip
PROBLEM = {"type": "about:blank", "title": "Unprocessable", "status": 422, "code": "invalid"}

Act = Callable[[BaseHTTPRequestHandler], None]


def tell(handler: BaseHTTPRequestHandler, body: Any, status: int = 200, **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def results(*each: Any) -> Act:
    return lambda handler: tell(handler, {"results": each})


@contextmanager
def serving(act: Act, asked: list[tuple[dict[str, str], Any]] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if asked is not None:
                asked.append((dict(self.headers), sent))
            try:
                act(self)
            except OSError:
                self.close_connection = True  # whoever asked has gone

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., Peers]]:
    with ExitStack() as stack:

        def made(**hubs: str) -> Peers:
            peers = Peers(hubs, secret=SECRET)
            stack.callback(peers.close)
            return peers

        yield made


def requests(count: int = 1) -> list[MatchRequest]:
    return [MatchRequest(job_id=f"j{number}", top_k=2) for number in range(count)]


def test_all_are_asked_with_the_secret_and_as_from_a_hub(start) -> None:
    asked: list[tuple[dict[str, str], Any]] = []
    with serving(results(ANSWER, PROBLEM), asked) as us, serving(results(ANSWER, ANSWER), asked) as asia:
        found = start(us=us, asia=asia).ask(requests(2), deadline_s=5)
    assert list(found) == ["us", "asia"]
    assert [each.outcome for each in found.values()] == ["ok", "ok"]
    first, refused = found["us"].answers
    assert first is not None
    assert (first.candidates[0].miner_id, first.eligible, first.considered) == ("m", 2, 3)
    assert refused is None
    for headers, sent in asked:
        assert (headers["X-Coordinator-Secret"], headers[HOPS]) == (SECRET, "1")
        assert sent == {"requests": [{"job_id": "j0", "top_k": 2}, {"job_id": "j1", "top_k": 2}]}


def slow(handler: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(3)


def trickling(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        threading.Event().wait(0.05)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"results":[')
    handler.close_connection = True


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (slow, "late"),
        (trickling, "late"),
        (cut_off, "failed"),
        (silent, "failed"),
        (lambda handler: tell(handler, {"code": "unauthorized"}, 401), "refused"),
        (lambda handler: tell(handler, b"", 302, Location="http://127.0.0.1:1/"), "refused"),
        (lambda handler: tell(handler, b"<html>"), "refused"),
        (lambda handler: tell(handler, b"\x1f\x8b", **{"Content-Encoding": "gzip"}), "refused"),
        (lambda handler: tell(handler, b'{"results":[{"job_id":"\xff","candidates":[]}]}'), "refused"),
        (lambda handler: tell(handler, b'{"results":' + b"[" * 50_000), "refused"),
        (results(), "refused"),
        (results(ANSWER, ANSWER), "refused"),
        (results({**ANSWER, "eligible": "many"}), "refused"),
        (results({**ANSWER, "candidates": [{**ANSWER["candidates"][0], "score": 1.5}]}), "refused"),  # type: ignore[index]
        (lambda handler: tell(handler, b" " * (asking.MAX_ANSWER_BYTES + 1)), "refused"),
    ],
    ids=[
        "slow", "trickling", "cut off", "silent", "no access", "redirect", "no JSON", "compressed", "no UTF-8", "nested",
        "too few", "too many",
        "wrong type", "score above 1", "too long",
    ],
)  # fmt: skip
def test_one_that_fails_costs_its_own_candidates_alone_and_no_more_than_the_deadline(
    start, monkeypatch, act, outcome
) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER_BYTES", 100_000)
    with serving(act) as bad, serving(results(ANSWER)) as good:
        peers = start(bad=bad, good=good)
        began = time.monotonic()
        found = peers.ask(requests(), deadline_s=DEADLINE_S)
        assert time.monotonic() - began < DEADLINE_S + asking.SPARE_S
    assert (found["bad"].outcome, found["bad"].answers) == (outcome, ())
    assert found["good"].outcome == "ok"


def test_nobody_there_is_a_failure_like_any_other(start) -> None:
    assert start(gone=f"http://127.0.0.1:{free_port()}").ask(requests(), deadline_s=5)["gone"].outcome == "failed"


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1"])
def test_no_name_leads_to_a_private_address_unless_the_operator_allows_it(start, host) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.05)
        asked = start(us=f"http://{host}:{listening.getsockname()[1]}").ask(requests(), deadline_s=5)
        assert asked["us"].outcome == "failed"
        with pytest.raises(TimeoutError):
            listening.accept()


def test_one_that_failed_is_left_alone_and_asked_again_later(start, caplog) -> None:
    acts: list[Act] = [silent]
    asked: list[tuple[dict[str, str], Any]] = []

    def act(handler: BaseHTTPRequestHandler) -> None:
        acts[0](handler)

    with serving(act, asked) as base:
        peers = start(us=base)
        (peer,) = peers.all
        now = [0.0]
        peer.breaker._monotonic = lambda: now[0]
        assert peers.ask(requests(), deadline_s=5)["us"].outcome == "failed"
        assert peers.ask(requests(), deadline_s=5)["us"].outcome == "resting"
        assert len(asked) == 1
        for rest_s in (asking.REST_S, 2 * asking.REST_S):
            now[0] += rest_s
            assert peers.ask(requests(), deadline_s=5)["us"].outcome == "failed"
            assert peers.ask(requests(), deadline_s=5)["us"].outcome == "resting"
        acts[0] = results(ANSWER)
        now[0] += 4 * asking.REST_S
        assert peers.ask(requests(), deadline_s=5)["us"].outcome == "ok"
    told = [record.message for record in caplog.records if record.name == asking.__name__]
    assert len(told) == 2
    assert told[0].startswith("peer hub us is left alone for a while: ")
    assert told[1] == "peer hub us answers again"
