"""Whose turn it is to ask the store: it is asked with the registry's lock held, so one at a time does.

The others wait here, without the lock: a store that is slow keeps reservations waiting, and nobody else. Who has waited
for WAIT_S is refused, so that no queue grows in front of it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from poolhub.common.errors import Unavailable

WAIT_S = 0.5

_lock = threading.RLock()


@contextmanager
def turn() -> Iterator[None]:
    """Raises Unavailable. To be taken before the registry's lock, never within."""
    if not _lock.acquire(timeout=WAIT_S):
        raise Unavailable("Reservations take long at the moment. Try again.")
    try:
        yield
    finally:
        _lock.release()
