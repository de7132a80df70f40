"""Waiting for a condition: the only way in which a test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], limit_s: float = 20, what: str = "it came about") -> T:
    """The first true value of the condition; AssertionError after the limit."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
    return found
