"""What a settlement backend promises.

deliver() is called for one event at a time of each miner, from several threads, and again with the same event after a
crash: what it does for an event must be the same thing, done once. It raises nothing that is part of its trade; what it
raises all the same counts as a failure. It ends within limit_s. A backend whose parallel is 1 is called in the thread
of the caller, and may use the database. follow() looks after what deliver() has sent.
gone() are delivered events of which the other side knows nothing any more; it may raise BackendError.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from settlement.models import SettlementEvent


class BackendError(Exception):
    """The other side cannot be asked now."""


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


@dataclass(frozen=True, slots=True)
class Sent:
    """On its way for good: follow() says how it ends, and the miner's next event may go."""

    transaction: str


Result = Delivered | Failed | Later | Gone | Sent


@dataclass(frozen=True, slots=True)
class Ended:
    """How what was Sent has ended."""

    event: SettlementEvent
    result: Delivered | Failed
    transaction: str


class Backend(Protocol):
    target: str  # what a pause is tied to
    limit_s: float
    parallel: int

    def deliver(self, event: SettlementEvent) -> Result: ...

    def follow(self) -> Sequence[Ended]: ...

    def gone(self) -> Iterator[SettlementEvent]: ...

    def close(self) -> None: ...
