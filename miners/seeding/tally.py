"""How a fleet is doing: counted by its miners, told to whoever watches."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

NAMED = 5  # miners that are named for each reason to stop; the rest are counted


class Watch(Protocol):
    def say(self, line: str) -> None: ...

    def came_up(self) -> None:
        """One more miner has its first socket."""

    def live(self, online: int) -> None:
        """Every miner that has not stopped is online, for the first time."""

    def tick(self, tally: "Tally") -> None:
        """Now and then, once they are live."""


class Tally:
    def __init__(self, total: int, watch: Watch) -> None:
        self.total = total
        self.online = self.beats = self.reconnects = self.errors = 0
        self.live = False
        self.reasons: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._watch = watch

    @property
    def stopped(self) -> int:
        return self.reasons.total()

    @contextmanager
    def connected(self, miner_id: str) -> Iterator[None]:
        self.online += 1
        if miner_id in self._seen:
            self.reconnects += 1
        else:
            self._seen.add(miner_id)
            self._watch.came_up()
        self._judge()
        try:
            yield
        finally:
            self.online -= 1

    def stop(self, miner_id: str, reason: str) -> None:
        self.reasons[reason] += 1
        if self.reasons[reason] <= NAMED:
            self._watch.say(f"{miner_id} stops: {reason}")
        elif self.reasons[reason] == NAMED + 1:
            self._watch.say(f"more miners stop: {reason}; from here on they are only counted")
        self._judge()

    def _judge(self) -> None:
        if not self.live and self.online and self.online + self.stopped == self.total:
            self.live = True
            self._watch.live(self.online)
