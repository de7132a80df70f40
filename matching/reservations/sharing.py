"""The ledger's part on the bus: what happens to jobs' holds, told by whoever hears of it, applied by all.

Reservations are told by the store, in the step that makes, renews or ends them.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from matching.reservations.base import Reservation
from matching.reservations.holds import Happening, Hold, Offered, Outcome, Told, Was
from matching.reservations.ledger import Ledger
from miners.registry.bus import Bus
from poolhub.common import clock

JOB, RESERVATION = "job", "reservation"


class OfferedEvent(Struct, array_like=True, tag="offered"):
    at: float
    candidates: tuple[str, ...]
    expires_at: float


class ToldEvent(Struct, array_like=True, tag="told"):
    at: float
    miner_id: str
    outcome: Outcome
    expires_at: float


class WasEvent(Struct, array_like=True, tag="was"):
    at: float
    hold: Hold | None


class JobEvent(Struct, array_like=True):
    job_id: str
    happened: list[OfferedEvent | ToldEvent | WasEvent]


class ReservationEvent(Struct):
    """As the store's scripts write it."""

    id: str
    job_id: str
    miner_id: str
    ttl_ms: int
    expires_at: float  # epoch seconds; 0 = it has ended
    revision: int


_jobs = msgspec.msgpack.Decoder(JobEvent)
_reservations = msgspec.json.Decoder(ReservationEvent)
_encode = msgspec.msgpack.Encoder().encode


def join(ledger: Ledger, bus: Bus) -> None:
    """Have the ledger apply what other processes tell."""
    bus.on(JOB, lambda payload: apply_job(ledger, payload))
    bus.on(RESERVATION, lambda payload: apply_reservation(ledger, payload))
    bus.on_resend(lambda: resend(ledger, bus))


def job_payload(job_id: str, happened: Sequence[Happening]) -> bytes:
    return _encode(JobEvent(job_id, [_event_of(each) for each in happened]))


def apply_job(ledger: Ledger, payload: bytes) -> None:
    told = _jobs.decode(payload)
    ledger.apply(told.job_id, [_happening_of(each) for each in told.happened])


def apply_reservation(ledger: Ledger, payload: bytes) -> None:
    told = _reservations.decode(payload)
    now = clock.now()
    if told.expires_at:
        made = Reservation(told.id, told.job_id, told.miner_id, told.ttl_ms, told.expires_at, told.revision)
        ledger.count(made, now=now)
    else:
        ledger.uncount(told.id, now=now)


def resend(ledger: Ledger, bus: Bus) -> None:
    for job_id, happened in ledger.happened_here():
        bus.publish(JOB, job_payload(job_id, happened))


def _event_of(each: Happening) -> OfferedEvent | ToldEvent | WasEvent:
    if isinstance(each, Offered):
        return OfferedEvent(each.at, each.candidates, each.expires_at)
    if isinstance(each, Told):
        return ToldEvent(each.at, each.miner_id, each.outcome, each.expires_at)
    return WasEvent(each.at, each.hold)


def _happening_of(each: OfferedEvent | ToldEvent | WasEvent) -> Happening:
    if isinstance(each, OfferedEvent):
        return Offered(each.at, each.candidates, each.expires_at)
    if isinstance(each, ToldEvent):
        return Told(each.at, each.miner_id, each.outcome, each.expires_at)
    return Was(each.at, each.hold)
