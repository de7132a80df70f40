"""The hub's one clock: epoch seconds in UTC. Pure cores take ``now`` as an argument instead."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar


class Clock(Protocol):
    def now(self) -> float: ...


C = TypeVar("C", bound=Clock)


class SystemClock:
    def now(self) -> float:
        return time.time()


class FakeClock:
    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


_clock: Clock = SystemClock()


def now() -> float:
    return _clock.now()


@contextmanager
def use(clock: C) -> Iterator[C]:
    """Swap the clock of the whole process, all threads, for the block (tests)."""
    global _clock
    before, _clock = _clock, clock
    try:
        yield clock
    finally:
        _clock = before


def to_datetime(t: float) -> datetime:
    return datetime.fromtimestamp(t, UTC)


def to_rfc3339(t: float) -> str:
    """Milliseconds, with ``Z``: ``2026-11-24T05:00:00.123Z``."""
    return to_datetime(t).isoformat(timespec="milliseconds").replace("+00:00", "Z")
