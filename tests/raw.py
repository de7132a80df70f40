"""HTTP by hand, for what no client would send."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.hub import LiveHub

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def connected(hub: LiveHub, *, timeout: float = 20) -> Iterator[socket.socket]:
    host, _, port = hub.base.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as raw:
        yield raw


def head(first: str, **headers: str | int) -> bytes:
    """The first line and headers, `content_length=5` as `content-length: 5`."""
    lines = [
        f"{first} HTTP/1.1",
        "host: localhost",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(raw: socket.socket) -> Answer:
    """One answer with a Content-Length; what follows it stays in the socket."""
    told = b""
    while b"\r\n\r\n" not in told:
        more = raw.recv(1)
        assert more, f"the connection ended after {told!r}"
        told += more
    first, *lines = told.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers.get("content-length", "0")):
        more = raw.recv(CHUNK)
        assert more, f"the body ended after {len(body)} bytes"
        body += more
    return Answer(int(first.split(" ")[1]), headers, body)


def is_closed(raw: socket.socket) -> bool:
    """Waits for the other side to close."""
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True
