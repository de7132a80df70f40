"""What the command shows: a progress bar on stderr while something is under way, lines on stdout.

The bar needs a terminal and stays away from runs that are over within a moment. On a terminal the status of a fleet is
one line that is written over; elsewhere, where lines are kept, one comes every KEPT_EVERY_S, and a last one at the end.
"""

import sys
import time
from collections import deque

from django.core.management.base import OutputWrapper
from tqdm import tqdm

from miners.seeding.tally import Tally

BAR_AFTER_S = 1.0
KEPT_EVERY_S = 10.0
RATE_OVER = 20  # ticks that the shown rate is the mean of
CLEAR = "\r\x1b[K"


class Screen:
    """With `quiet`, only what others wait for and what went wrong is said. Close it, so that bar and line end."""

    def __init__(self, out: OutputWrapper, *, total: int, doing: str, quiet: bool) -> None:
        self._out, self._quiet, self._in_place = out, quiet, out.isatty()
        self._bar = tqdm(
            total=total,
            desc=doing,
            unit=" miners",
            delay=BAR_AFTER_S,
            file=sys.stderr,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._ticks: deque[tuple[float, int]] = deque(maxlen=RATE_OVER)  # when, and how many heartbeats by then
        self._status = ""  # not written yet
        self._line_open = False  # a status stands on the terminal, and may be written over
        self._written_at = time.monotonic()

    def close(self) -> None:
        self._bar.close()
        if self._line_open:
            self._write("\n")
        elif self._status and not self._in_place:
            self._write(f"{self._status}\n")

    def advance(self, count: int) -> None:
        self._bar.update(count)

    def came_up(self) -> None:
        self._bar.update()

    def say(self, line: str) -> None:
        self._bar.clear()
        self._write(f"{CLEAR if self._line_open else ''}{line}\n")
        self._line_open = False

    def live(self, online: int) -> None:
        """In these words: scripts wait for them."""
        self._bar.close()
        self.say(f"{online} miners are live")
        self._written_at = time.monotonic()

    def tick(self, tally: Tally) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        self._ticks.append((now, tally.beats))
        self._status = _status(tally, self._rate())
        if self._in_place:
            self._write(f"{CLEAR}{self._status}")
            self._line_open = True
        elif now - self._written_at >= KEPT_EVERY_S:
            self._write(f"{self._status}\n")
            self._status, self._written_at = "", now

    def _rate(self) -> float:
        (began, before), (now, beats) = self._ticks[0], self._ticks[-1]
        return (beats - before) / (now - began) if now > began else 0.0

    def _write(self, text: str) -> None:
        self._out.write(text, ending="")
        self._out.flush()


def _status(tally: Tally, rate: float) -> str:
    line = f"{tally.online:,} of {tally.total:,} online, {rate:,.1f} heartbeats/s, {tally.reconnects:,} reconnects"
    if tally.stopped:
        line += f", {tally.stopped:,} stopped"
    return f"{line}, {tally.errors:,} errors" if tally.errors else line
