"""SIGTERM: what the embedded server owes to those that it serves."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.hub import LiveHub, miners_locked, sql
from tests.poolhub.clients import HEARTBEAT, beat, close_code, is_refused, open_socket, posts_begun, register
from tests.raw import CHUNK, connected, head, is_closed, read_answer
from tests.waiting import until

LARGE = "/static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js.map"  # more than the system takes at once


def test_a_stop_tells_every_miner_to_come_back_and_stores_what_they_said(start_hub: Callable[..., LiveHub]) -> None:
    hub = start_hub()
    names = [f"m{number}" for number in range(5)]
    with ExitStack() as stack:
        sockets = [stack.enter_context(open_socket(hub, register(hub, name))) for name in names]
        for number, each in enumerate(sockets):
            each.send(beat(queue_len=number + 1, ack=True))
            assert json.loads(each.recv(timeout=10))["type"] == "ack"
        deaf = stack.enter_context(connected(hub))  # a miner that never answers the close
        token = register(hub, "deaf")
        deaf.sendall(head(
            f"GET {HEARTBEAT}?session_token={token}", connection="Upgrade", upgrade="websocket",
            sec_websocket_version=13, sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
        ))  # fmt: skip
        assert read_answer(deaf).status == 101
        hub.process.send_signal(signal.SIGTERM)
        with ThreadPoolExecutor(len(sockets)) as pool:
            assert list(pool.map(close_code, sockets)) == [4012] * len(sockets)
        assert hub.process.wait(15) == 0
    stored = sql(hub.env["DB_DSN"], "SELECT miner_id, queue_len FROM miners_minerstatus ORDER BY miner_id")
    assert stored == [("deaf", 0), *((name, number + 1) for number, name in enumerate(names))]
    assert "Traceback" not in hub.log.read_text()


def test_a_stop_lets_requests_under_way_finish(start_hub: Callable[..., LiveHub]) -> None:
    hub = start_hub()
    body = json.dumps({"job_id": "half-sent"}).encode()
    with (
        connected(hub) as idle, connected(hub) as half, connected(hub) as slow_reader, ThreadPoolExecutor(1) as pool,
    ):  # fmt: skip
        idle.sendall(head("GET /v1/health"))
        assert read_answer(idle).status == 200
        half.sendall(
            head("POST /v1/match", content_type="application/json", content_length=len(body), **hub.coordinator)
        )
        half.sendall(body[:5])
        slow_reader.sendall(head(f"GET {LARGE}"))
        first = slow_reader.recv(1)
        with miners_locked(hub.env["DB_DSN"]):
            before = posts_begun(hub)
            registering = pool.submit(register, hub, "slow")
            until(lambda: posts_begun(hub) > before)
            hub.process.send_signal(signal.SIGTERM)
            until(lambda: is_refused(hub))
            assert is_closed(idle)
            assert hub.process.poll() is None
        assert registering.result(20)
        half.sendall(body[5:])
        answer = read_answer(half)
        assert (answer.status, answer.json()["job_id"], answer.headers["connection"]) == (200, "half-sent", "close")
        with pytest.raises(subprocess.TimeoutExpired):  # one answer is not on its way yet
            hub.process.wait(1)
        told = first + b"".join(iter(lambda: slow_reader.recv(CHUNK), b""))
    headers, _, script = told.partition(b"\r\n\r\n")
    assert len(script) == int(re.search(rb"content-length: (\d+)", headers, re.IGNORECASE)[1]) > 3_000_000
    assert hub.process.wait(15) == 0
    assert sql(hub.env["DB_DSN"], "SELECT miner_id FROM miners_miner") == [("slow",)]
    assert sql(hub.env["DB_DSN"], "SELECT job_id FROM matching_matchrecord") == [("half-sent",)]
    assert "Traceback" not in hub.log.read_text()
