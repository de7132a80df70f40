"""PostgreSQL that stands still is, for those who serve, PostgreSQL that is away.

A server that is stopped, or cut off without a word, keeps its connections open: whoever asks it waits, with a thread,
until it goes on. So in a process that serves (`serve`) a statement without an answer for LOOK_S has it looked whether
the server answers anybody. Where it does, a long statement goes on; where it does not, the connection is closed and the
statement fails, and until the server answers again one caller in REST_S finds that out, and all others are refused at
once.
"""

import socket
import struct
import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg

from poolhub.common.breaker import Breaker

LOOK_S = 0.5  # without an answer, before it is looked whether there is anybody …
ANSWER_S = 0.6  # … and for how long: health waits behind such a thread, and has a second
REST_S = 1.0
SSL_REQUEST = struct.pack("!ii", 8, 80877103)

breaker = Breaker(rest_s=REST_S)
_serving = False


def serve(*, impatient: bool = True) -> None:
    """From now on nobody in this process waits for a server that stands still."""
    global _serving
    _serving = impatient


def serving() -> bool:
    return _serving


class ImpatientConnection(psycopg.Connection[Any]):
    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        if not _serving:
            return super().wait(gen, *args, **options)
        return super().wait(self._looked_after(gen), *args, **options)

    def _looked_after(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same, ended by OperationalError where the server is gone."""
        look_at, ready = time.monotonic() + LOOK_S, None
        while True:
            try:
                waits_for = next(gen) if ready is None else gen.send(ready)
            except StopIteration as done:
                return done.value
            ready = yield waits_for
            if not ready and time.monotonic() > look_at:
                if not _look.answers(self.info.host, self.info.port):
                    breaker.failed()
                    self.close()
                    raise psycopg.OperationalError("the database stands still")
                look_at = time.monotonic() + LOOK_S


class Look:
    """One at a time: who comes while there is another, or soon after, takes what that one has seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[float, bool] = (-LOOK_S, True)  # since when, by time.monotonic

    def answers(self, host: str, port: int) -> bool:
        asked = time.monotonic()
        with self._lock:
            begun, answered = self._seen
            if begun <= asked - LOOK_S:
                begun = time.monotonic()
                answered = accepts(host, port)
                self._seen = (begun, answered)
            return answered


def accepts(host: str, port: int) -> bool:
    """Whether it says anything to a new client: asked for TLS, a server says yes or no before all else."""
    try:
        with _connected(host, port) as probe:
            probe.settimeout(ANSWER_S)
            probe.sendall(SSL_REQUEST)
            return bool(probe.recv(1))
    except OSError:  # TimeoutError is one
        return False


def _connected(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), ANSWER_S)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(ANSWER_S)
    made.connect(f"{host}/.s.PGSQL.{port}")
    return made


_look = Look()
