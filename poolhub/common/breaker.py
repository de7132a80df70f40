"""A part that failed is left alone for a while: callers are refused at once, instead of after a time-out each."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """After a failure nobody may ask for `rest_s`; then one caller may in each rest, until one succeeds.

    Each such try that fails makes the next rest twice as long, up to `max_rest_s`; without it, all are `rest_s`.
    """

    def __init__(
        self, *, rest_s: float, max_rest_s: float | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rest_s = rest_s
        self._max_rest_s = rest_s if max_rest_s is None else max_rest_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: float | None = None  # None = closed
        self._next_s = rest_s
        self._trying = False

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
            self._until, self._trying = now + self._next_s, True
            return True

    def failed(self) -> bool:
        """True for the first failure in a row."""
        with self._lock:
            first = self._until is None
            if self._trying:  # not for those that were under way when the first one failed
                self._next_s = min(2 * self._next_s, self._max_rest_s)
            self._until, self._trying = self._monotonic() + self._next_s, False
            return first

    def worked(self) -> bool:
        """True where it had failed before."""
        if self._until is None:
            return False
        with self._lock:
            again, self._until = self._until is not None, None
            self._next_s, self._trying = self._rest_s, False
            return again

    def failing(self) -> bool:
        """Whether the last that was heard of it is a failure."""
        return self._until is not None

    def rests(self) -> bool:
        """Whether a caller would be refused now."""
        until = self._until
        return until is not None and self._monotonic() < until

    def rests_s(self) -> float:
        """For how long callers are still refused; 0 where they are not."""
        until = self._until
        return 0.0 if until is None else max(0.0, until - self._monotonic())
