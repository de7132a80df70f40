"""Whose turn it is to ask the store: it is asked with the registry's lock held, so one at a time does.

The others wait here, without the lock: a store that is slow keeps reservations waiting, and nobody else. Who has waited
for WAIT_S is refused, so that no queue grows in front of it. After a turn that took long, the next one comes as much
later: half of the time the lock is free for everything else.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from poolhub.common.errors import Unavailable

WAIT_S = 0.5
LONG_S, MAX_REST_S = 0.05, 0.3


class _Turns:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0  # of the one whose turn it is
        self._rests_until = 0.0

    @contextmanager
    def one(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=WAIT_S):
            raise Unavailable("Reservations take long at the moment. Try again.")
        try:
            rest_s = self._rests_until - time.monotonic()
            if rest_s > 0 and not self._depth:
                time.sleep(rest_s)
            self._depth += 1
            begun = time.monotonic()
            try:
                yield
            finally:
                self._depth -= 1
                took_s = time.monotonic() - begun
                if took_s > LONG_S and not self._depth:
                    self._rests_until = time.monotonic() + min(took_s, MAX_REST_S)
        finally:
            self._lock.release()


_turns = _Turns()


def turn() -> AbstractContextManager[None]:
    """Raises Unavailable. To be taken before the registry's lock, never within."""
    return _turns.one()
