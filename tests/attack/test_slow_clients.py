"""Clients that take their time to hold what others need, or that send little which would be much.

Behind nginx: tests/multiprocess/test_nginx.py.
"""

import base64
import gzip
import json
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from poolhub import nginx
from tests.hub import LiveHub
from tests.poolhub.clients import HEARTBEAT, register
from tests.poolhub.test_nginx import plain
from tests.raw import connected, head, read_answer

HELD = 150  # connections that never end their request
MAX_BODY = 65_536  # 4 s more
LIMIT_S = 30 + 4
HEAD = b"POST /v1/match HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Connection:
    """One to the embedded server, under a clock of the test's own."""

    def __init__(self) -> None:
        from poolhub import server
        from poolhub.channel import HubRequest

        self.whole = 0

        class Request(HubRequest):  # type: ignore[misc]
            def process(request) -> None:  # noqa: N805
                self.whole += 1

        self.clock, self.transport, self.channel = Clock(), StringTransport(), server.HubChannel()
        told = dict.fromkeys(("protocol_connected", "protocol_disconnected"), lambda request: None)
        hub = SimpleNamespace(channels=set(), stopping=False, **told)
        self.channel.factory = SimpleNamespace(server=hub)  # type: ignore[assignment]
        self.channel.requestFactory = Request
        self.channel.callLater, self.channel.timeOut = self.clock.callLater, 60
        self.channel.makeConnection(self.transport)

    def send(self, sent: bytes) -> None:
        self.channel.dataReceived(sent)

    def drip(self, what: bytes, *, each_s: float = 1.0) -> float:
        """Again and again, so that the connection is never idle; after how many seconds it was cut off."""
        while not self.transport.disconnecting:
            assert self.clock.seconds() < 1000, "it may go on for ever"
            self.send(what)
            self.clock.advance(each_s)
        return self.clock.seconds()


@pytest.fixture
def connection(settings) -> Connection:
    settings.MAX_BODY_BYTES = MAX_BODY
    return Connection()


@pytest.mark.pure
@pytest.mark.parametrize(
    ("begun", "dripping"),
    [(b"", b"G"), (b"GET / HTTP/1.1\r\n", b"a"), (HEAD, b"a: b\r\n"), (HEAD + b"Content-Length: 9999\r\n\r\n", b" ")],
    ids=["first line", "header", "headers", "body"],
)
def test_a_request_that_drips_is_cut_off_however_steadily(connection: Connection, begun, dripping) -> None:
    if begun:
        connection.send(begun)
    assert connection.drip(dripping) == LIMIT_S
    assert connection.whole == 0


@pytest.mark.pure
def test_one_that_is_whole_in_time_has_all_the_time_it_needs_and_so_has_the_next(connection: Connection) -> None:
    connection.send(HEAD)
    connection.clock.advance(LIMIT_S - 5)
    connection.send(b"Content-Length: 2\r\n\r\n{")
    connection.clock.advance(4)
    connection.send(b"}")
    connection.clock.advance(500)
    assert (connection.whole, connection.transport.disconnecting) == (1, False)


@pytest.mark.pure
def test_one_that_says_nothing_is_let_go(connection: Connection) -> None:
    connection.clock.advance(61)
    assert connection.transport.disconnecting


def test_while_many_hold_their_requests_back_others_are_served(live_hub: LiveHub) -> None:
    begun = [
        b"G",
        HEAD,
        HEAD + b"Content-Length: 9\r\n\r\n{",
        b"GET /v1/miners/heartbeat HTTP/1.1\r\nUpgrade: websocket\r\n",
    ]
    with ExitStack() as stack:
        for number in range(HELD):
            raw = stack.enter_context(connected(live_hub))
            raw.sendall(begun[number % len(begun)])
        began = time.monotonic()
        register(live_hub, "patient")
        assert httpx.get(f"{live_hub.base}/v1/health", timeout=20).status_code == 200
        assert time.monotonic() - began < 10


def handshake(raw: socket.socket, token: str, **headers: str) -> Any:
    key = base64.b64encode(b"0123456789abcdef").decode()
    raw.sendall(
        head(
            f"GET {HEARTBEAT}?session_token={token}", upgrade="websocket", connection="Upgrade",
            sec_websocket_version=13, sec_websocket_key=key, **headers,
        )
    )  # fmt: skip
    return read_answer(raw)


def test_a_socket_is_never_compressed_so_that_no_message_can_be_a_bomb(live_hub: LiveHub) -> None:
    offered = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    with connected(live_hub) as raw:
        answer = handshake(raw, register(live_hub, "deflating"), sec_websocket_extensions=offered)
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_compressed_body_is_never_unpacked(client, settings, encoding) -> None:
    settings.COORDINATOR_SHARED_SECRET = ("coordinator-secret-for-tests",)
    bomb = gzip.compress(json.dumps({"job_id": "j", "x": " " * 10_000_000}).encode())
    assert len(bomb) < settings.MAX_BODY_BYTES
    headers = {"X-Coordinator-Secret": "coordinator-secret-for-tests", "Content-Encoding": encoding}
    reply = client.post("/v1/match", bomb, content_type="application/json", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_json")


@pytest.mark.pure
def test_nginx_reads_a_request_as_a_whole_before_a_worker_sees_it_and_waits_for_nobody_long() -> None:
    text = nginx.rendered(plain())
    assert "proxy_request_buffering" not in text  # it is on unless it is switched off
    for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        assert f" {name} 10s;" in text
    assert "reset_timedout_connection on;" in text
    assert "limit_conn poolhub_address " in text
