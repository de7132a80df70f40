"""Reservations: slots promised to jobs for a time. One protocol, and what every store of it guarantees.

Guarantee. A reservation that was answered holds its slot until it is released or its time is over, whoever asks and
through whichever process; at no moment does a miner have more live reservations than the limit that was named with the
grant. A job has at most one live reservation: asked again it gets that one. Release is idempotent. Threads may call a
store at once. A store that cannot decide raises `poolhub.common.errors.Unavailable` rather than guess; one that lost
what it held raises `Unfilled`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from poolhub.common.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reservation:
    id: str
    job_id: str
    miner_id: str
    ttl_ms: int  # as asked at first
    expires_at: float  # epoch seconds
    revision: int = field(default=0, compare=False)  # grows with every change, where several processes see them


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate for a reservation."""

    miner_id: str
    limit: int  # live reservations that the miner may have in all


class Unfilled(Unavailable):
    """The store holds nothing, or not all, of what it held. `fill` brings that back; it may take a second."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__("The reservations are being read back. Try again.")
        self.fill = fill


def once_filled(work: Callable[[], T]) -> T:
    """Do it; where the store turns out to have lost its data, fill it first and do it again. Hold no lock meanwhile."""
    try:
        return work()
    except Unfilled as lost:
        lost.fill()
        return work()


class ReservationStore(Protocol):
    def take(self, *, job_id: str, places: Sequence[Place], ttl_ms: int, now: float) -> Reservation | None:
        """One slot of the first place that has one, or the reservation the job has already; None where all are full."""

    def renew(self, reservation_id: str, *, ttl_ms: int | None, now: float) -> Reservation | None:
        """From now on for ttl_ms, None = as long as asked at first; None where it is gone."""

    def release(self, reservation_id: str, *, now: float) -> Reservation | None:
        """End it; None where it was gone already."""

    def of_job(self, job_id: str, *, now: float) -> Reservation | None: ...

    def live(self, *, now: float) -> list[Reservation]:
        """By expiry, the next to end first."""

    def count(self, *, now: float) -> int:
        """How many live."""
