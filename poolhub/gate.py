"""How many requests a REST process has under way: some work, some wait their turn, what comes on top is refused.

Promises. A request that is refused was not begun, and knows it at once or after REQUEST_WAIT_MS: 503 `overloaded` with
Retry-After. What has its turn was not asked for long ago, so as much is done as without the rush. Matches, which begin
work, come after all that goes on with work or ends it, and after miners; they may take a part of the waiting places.
Health and metrics pass without a turn.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

from poolhub.bodylimit import read_to_its_end
from poolhub.common.codec import encode
from poolhub.common.errors import Overloaded, problem
from poolhub.common.metrics import REFUSED
from poolhub.common.problems import PROBLEM_JSON
from poolhub.common.requestid import HEADER, request_id_from

WORKING = 8  # more threads of one Python only get into each other's way
WAITING = 200  # a coordinator may ask many at once; that takes a second
MATCHES_WAITING = 160
MATCHES = "/v1/match"
FREE = ("/v1/health", "/health", "/v1/metrics")


class Full(Exception):
    """No place to wait in."""


class Late(Exception):
    """The turn has not come in time."""


class Gate:
    """Turns in order of arrival, matches after all others."""

    def __init__(
        self, *, working: int = WORKING, waiting: int = WAITING, matches_waiting: int = MATCHES_WAITING
    ) -> None:
        self._free, self._waiting, self._matches_waiting = working, waiting, matches_waiting
        self._lock = threading.Lock()
        self._matches: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()

    def enter(self, *, is_match: bool, wait_s: float) -> None:
        """Until it is one's turn, which leave() has to end. Raises Full at once, Late after so long."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            waiting = len(self._matches) + len(self._others)
            if waiting >= self._waiting or (is_match and len(self._matches) >= self._matches_waiting):
                raise Full
            turn = threading.Lock()
            turn.acquire()
            queue = self._matches if is_match else self._others
            queue.append(turn)
        if turn.acquire(timeout=wait_s):
            return
        with self._lock:
            if turn not in queue:
                return  # it has come at the last moment
            queue.remove(turn)
        raise Late

    def leave(self) -> None:
        with self._lock:
            queue = self._others or self._matches
            if queue:
                queue.popleft().release()  # the place goes from hand to hand
            else:
                self._free += 1


class GatedWSGI:
    def __init__(self, application: Callable[..., Iterable[bytes]], gate: Gate | None = None) -> None:
        self.application = application
        self.gate = gate or Gate()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ.get("PATH_INFO") or ""
        if path.rstrip("/") in FREE:
            return self.application(environ, start_response)
        is_match = path.startswith(MATCHES)
        try:
            self.gate.enter(is_match=is_match, wait_s=settings.REQUEST_WAIT_MS / 1000)
        except Full:
            return refuse("full", environ, start_response)
        except Late:
            return refuse("late", environ, start_response)
        try:
            return self.application(environ, start_response)  # its answer is made by now, and only sent later
        finally:
            self.gate.leave()


def refuse(reason: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    REFUSED.labels(reason=reason).inc()
    error = Overloaded("The hub has more to do than it can. Try again later.")
    request_id = request_id_from(environ.get("HTTP_X_REQUEST_ID"))
    body = encode(problem(error, request_id))
    if environ.get("wsgi.input_terminated"):
        read_to_its_end(environ["wsgi.input"])
    start_response(
        f"{error.status} {error.title}",
        [
            ("Content-Type", PROBLEM_JSON),
            ("Content-Length", str(len(body))),
            (HEADER, request_id),
            *error.headers.items(),
        ],
    )
    return [body]
