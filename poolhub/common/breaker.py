"""A part that failed is left alone for a while: callers are refused at once, instead of after a time-out each."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """After a failure nobody may ask for `rest_s`; then one caller may in each `rest_s`, until one succeeds."""

    def __init__(self, *, rest_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = rest_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: float | None = None  # None = closed

    def allows(self) -> bool:
        """Whether the caller may ask. It then says how that went."""
        if self._until is None:
            return True
        with self._lock:
            now = self._monotonic()
            if self._until is None:
                return True
            if now < self._until:
                return False
            self._until = now + self._rest_s
            return True

    def failed(self) -> bool:
        """True for the first failure in a row."""
        with self._lock:
            first, self._until = self._until is None, self._monotonic() + self._rest_s
            return first

    def worked(self) -> bool:
        """True where it had failed before."""
        if self._until is None:
            return False
        with self._lock:
            again, self._until = self._until is not None, None
            return again

    def rests(self) -> bool:
        """Whether a caller would be refused now."""
        until = self._until
        return until is not None and self._monotonic() < until
