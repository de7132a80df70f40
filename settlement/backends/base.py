"""What a settlement backend promises.

deliver() is called for one event at a time of each miner, from several threads, and again with the same event after a
crash: what it does for an event must be the same thing, done once. It raises nothing that is part of its trade; what it
raises all the same counts as a failure. It ends within limit_s.
"""

from dataclasses import dataclass
from typing import Protocol

from settlement.models import SettlementEvent


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    """final: another attempt would fail alike. retry_after_s: as the receiver asked."""

    error: str
    retry_after_s: float = 0.0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """It is under way; this was no failed attempt."""

    wait_s: float
    note: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver wants nothing any more: all deliveries rest until an operator resumes them."""

    error: str


Result = Delivered | Failed | Later | Gone


class Backend(Protocol):
    target: str  # what a pause is tied to
    limit_s: float
    parallel: int

    def deliver(self, event: SettlementEvent) -> Result: ...

    def close(self) -> None: ...
