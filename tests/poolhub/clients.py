"""Clients of a real hub: a miner and its socket, and looks at what the server does."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from poolhub.common import clock
from tests.hub import LiveHub
from tests.raw import connected

HEARTBEAT = "/v1/miners/heartbeat"


def register(hub: LiveHub, miner_id: str) -> str:
    """The session token."""
    body = {"miner_id": miner_id, "api_key": f"key-of-{miner_id}-0123456789", "addr": "h:1"}
    reply = httpx.post(f"{hub.base}/v1/miners/register", json=body, timeout=20)
    assert reply.is_success, reply.text
    return reply.json()["session_token"]


@contextmanager
def open_socket(hub: LiveHub, token: str, **headers: str) -> Iterator[ClientConnection]:
    with connect(
        f"{hub.ws_base}{HEARTBEAT}", additional_headers={"Authorization": f"Bearer {token}", **headers}
    ) as made:
        assert json.loads(made.recv(timeout=10))["type"] == "welcome"
        yield made


def beat(**fields: Any) -> str:
    return json.dumps({"ts": clock.to_rfc3339(clock.now()), "queue_len": 0, **fields})


def close_code(made: ClientConnection) -> int:
    with suppress(ConnectionClosed):
        while True:
            made.recv(timeout=15)
    assert made.close_code is not None
    return made.close_code


def is_refused(hub: LiveHub) -> bool:
    """Whether it takes no new connections."""
    try:
        with connected(hub):
            return False
    except ConnectionRefusedError:
        return True


def posts_begun(hub: LiveHub) -> float:
    found = re.search(
        r'django_http_requests_total_by_method_total{method="POST"} (\S+)', httpx.get(f"{hub.base}/v1/metrics").text
    )
    return float(found[1]) if found else 0.0
