"""The half of the bus that tells: what waits in this process, on its way to the two streams (see `bus`)."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from miners.registry import beats, merging
from miners.registry.store import Registry

logger = logging.getLogger(__name__)

BATCH_S = 0.02
IDLE_S = 1.0  # an empty batch so often
SEND_COUNT = 500
MEANWHILE_COUNT = 1000
KEEP_REPORTS_MS = 30_000
KEEP_EVENTS = 50_000
MAX_WAITING_EVENTS = 100_000
MAX_WAITING_REPORTS = 500_000
RETRY_S = (0.1, 0.2, 0.5, 1.0)
RESEND_PAUSE_S = 1.0

PREFIX = "{poolhub}:bus:"
REPORTS, EVENTS, EPOCH = PREFIX + "reports", PREFIX + "events", PREFIX + "epoch"
RESEND = b"resend"

StreamId = bytes


class Publisher:
    """What waits to be told, and the thread's work that tells it."""

    def __init__(self, registry: Registry, connect: Callable[[], Redis]) -> None:
        self.writer = secrets.randbits(63) | 1
        self._registry = registry
        self._connect = connect
        self._resenders: list[Callable[[], None]] = []
        self._events: deque[tuple[bytes, bytes]] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._sending = threading.Lock()  # of events, whose numbers are their order
        self._told = 0  # events published
        self._seq = 0  # batches published
        self._oldest_kept = "0-0"  # on the stream of reports
        self._resend_due = False
        self._resent_at = -RESEND_PAUSE_S
        self._call_due = False
        self._called_at = -RESEND_PAUSE_S

    def on_resend(self, resend: Callable[[], None]) -> None:
        """Publish once more what is known, for processes that may have missed it; in the publishing thread."""
        self._resenders.append(resend)

    def publish(self, kind: str, payload: bytes, *, wake: bool = True) -> None:
        """Never blocks, never fails; the order of calls is the order of events.

        wake: False where the caller calls `meanwhile` next, which publishes in the caller's thread.
        """
        self._events.append((kind.encode(), payload))
        if wake:
            self._wake.set()

    def _publish_on(self) -> None:
        client, failures, sent_at = None, 0, 0.0
        while True:
            stopping = self._stop.is_set()
            try:
                if client is None:
                    client = self._connect()
                    self._meet(client)
                self._call_if_due()
                while self._events:
                    self._send_events(client)
                now = time.monotonic()
                if stopping or self._registry.outbox or now - sent_at >= IDLE_S:
                    self._send_reports(client)
                    sent_at = now
                if failures:
                    logger.warning("the bus publishes again")
                    failures, self._resend_due = 0, True
                if self._resend_due and now - self._resent_at >= RESEND_PAUSE_S:
                    self._resend(client)
            except (RedisError, OSError) as error:
                if not failures:
                    logger.warning("the bus cannot publish: %s", error)
                client, failures = None, failures + 1
                self._bound()
            if stopping:
                return
            self._pause(failures)

    def _call_if_due(self) -> None:
        if self._call_due and time.monotonic() - self._called_at >= RESEND_PAUSE_S:
            self._called_at, self._call_due = time.monotonic(), False
            self.publish(RESEND.decode(), b"")

    def _pause(self, failures: int) -> None:
        if failures:
            self._stop.wait(RETRY_S[min(failures, len(RETRY_S)) - 1])
        elif self._wake.wait(BATCH_S):
            self._wake.clear()

    def _meet(self, client: Redis) -> None:
        """Agree on the streams' epoch; a new one means that Redis has lost what was in them."""
        client.set(EPOCH, secrets.token_hex(8), nx=True)

    def _send_events(self, client: Redis, *, since: StreamId | None = None, wait_s: float = -1) -> Sequence[Any]:
        """What waits, in one go; with `since`, the last answer is what has come after it, newest first.

        Raises TimeoutError where another thread sends for longer than wait_s.
        """
        if not self._sending.acquire(timeout=wait_s):
            raise TimeoutError("another thread waits for Redis")
        try:
            waiting = list(islice(self._events, SEND_COUNT))
            if not waiting and since is None:
                return ()
            with client.pipeline(transaction=False) as pipe:
                for number, (kind, payload) in enumerate(waiting, self._told + 1):
                    fields: dict[Any, Any] = {b"w": self.writer, b"n": number, b"k": kind, b"p": payload}
                    pipe.xadd(EVENTS, fields, maxlen=KEEP_EVENTS, approximate=True)
                if since is not None:
                    pipe.xrevrange(EVENTS, min=b"(" + since, count=MEANWHILE_COUNT)
                answers: Sequence[Any] = pipe.execute()
            self._told += len(waiting)
            for _ in waiting:
                self._events.popleft()
            return answers
        finally:
            self._sending.release()

    def _send_reports(self, client: Redis) -> None:
        waiting = self._registry.outbox
        if waiting is None:
            return
        count = len(waiting)
        data = beats.pack(self.writer, self._seq + 1, self._told, waiting[:count])
        self._xadd_reports(client, data)
        del waiting[:count]

    def _xadd_reports(self, client: Redis, data: bytes) -> None:
        # by the clock of Redis, as the last position tells it: by one that is ahead, what nobody has read yet would go
        added: Any = client.xadd(REPORTS, {b"b": data}, minid=self._oldest_kept, approximate=True)
        self._oldest_kept = f"{max(0, int(added.partition(b'-')[0]) - KEEP_REPORTS_MS)}-0"
        self._seq += 1

    def _resend(self, client: Redis) -> None:
        self._resend_due = False
        self._resent_at = time.monotonic()
        with self._registry.lock:
            state = merging.state_of(self._registry, self._registry.reported_here())
        for start in range(0, len(state), 10_000):
            part = state[start : start + 10_000]
            self._xadd_reports(client, beats.pack(self.writer, self._seq + 1, self._told, part))
        for resend in self._resenders:
            resend()

    def _bound(self) -> None:
        """Redis away for long: what waits is told as state, not as history, once it is back."""
        waiting = self._registry.outbox
        if waiting is not None and len(waiting) > MAX_WAITING_REPORTS:
            waiting.clear()
            self._resend_due = True
        with self._sending:
            while len(self._events) > MAX_WAITING_EVENTS:
                self._events.popleft()
                self._told += 1  # seen by the others as a jump
