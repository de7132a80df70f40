"""A clock that jumps: Python imports this at its start where PYTHONPATH names this folder, before all else.

What the process takes for the time is then the system's plus the seconds in the file that MOVED_CLOCK names, a double
which may change at any moment. Only the time of day moves, never the monotonic clock, as where an operator or NTP sets
it. Nothing that the hub is made of takes the time elsewhere: compiled code asks for durations alone. (A library before
libc, as libfaketime, does not do here: it also counts in Python's own locks, and starves threads.)
"""

import mmap
import os
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from django.utils import timezone

with Path(os.environ["MOVED_CLOCK"]).open("rb") as _file:
    _moved = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_seconds, _system, _system_ns = struct.Struct("d"), time.time, time.time_ns


def _time() -> float:
    return _system() + _seconds.unpack(_moved)[0]


def _time_ns() -> int:
    return _system_ns() + int(_seconds.unpack(_moved)[0] * 1e9)


def _now() -> datetime:
    return datetime.fromtimestamp(_time(), UTC)


time.time, time.time_ns, timezone.now = _time, _time_ns, _now
