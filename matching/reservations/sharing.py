"""The ledger's part on the bus: what happens to jobs' holds, told by whoever hears of it, applied by all.

Reservations are told by the store, in the step that makes, renews or ends them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from matching.reservations.base import Reservation
from matching.reservations.holds import Happening, Hold, Offered, Outcome, Told, Was
from matching.reservations.ledger import Ledger
from miners.registry.bus import Bus, Event
from miners.registry.store import Registry
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


class Unreadable(ValueError):
    """Written by a version of the hub that this one does not understand, or broken: nothing of it is applied."""


def join(ledger: Ledger, bus: Bus) -> None:
    """Have the ledger apply what other processes tell."""
    bus.on(JOB, lambda payload: apply_job(ledger, payload))
    bus.on(RESERVATION, lambda payload: apply_reservation(ledger, payload))
    bus.on_resend(lambda: resend(ledger, bus))
    bus.on_snapshot(JOB, lambda: [job_payload(job_id, happened) for job_id, happened in ledger.happened()])


def job_payload(job_id: str, happened: Sequence[Happening]) -> bytes:
    return _encode(JobEvent(job_id, [_event_of(each) for each in happened]))


def apply_job(ledger: Ledger, payload: bytes) -> Hold | None:
    """The job's hold now. Raises Unreadable."""
    told: JobEvent = _decoded(_jobs, payload)
    ledger.apply(told.job_id, [_happening_of(each) for each in told.happened])
    return ledger.hold_of(told.job_id)


def apply_reservation(ledger: Ledger, payload: bytes) -> Reservation | None:
    """The job's reservation now. Raises Unreadable."""
    told: ReservationEvent = _decoded(_reservations, payload)
    now = clock.now()
    if told.expires_at:
        made = Reservation(told.id, told.job_id, told.miner_id, told.ttl_ms, told.expires_at, told.revision)
        ledger.count(made, now=now)
    else:
        ledger.uncount(told.id, now=now)
    return ledger.reservation_of(told.job_id, now=now)


def _decoded(decoder: Any, payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # a text that is no UTF-8 is a ValueError
        raise Unreadable(f"an event of {len(payload)} bytes cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold that was just given, on what this process knew then."""

    job_id: str
    miner_id: str
    payload: bytes  # of the event that tells it


def claim_of(ledger: Ledger, job_id: str, offered: Offered | None) -> Claim | None:
    """None where the job holds nothing, or nobody else would hear of it."""
    hold = ledger.hold_of(job_id)
    if offered is None or hold is None or not ledger.shared:
        return None
    return Claim(job_id, hold.miner_id, job_payload(job_id, [offered]))


def outrun(ledger: Ledger, registry: Registry, claims: Sequence[Claim], events: Sequence[Event]) -> list[Claim]:
    """Those whose slot other processes had taken before: their jobs are to be ranked anew.

    events: of the stream, from before the ranking until after these claims; their order decides who was first.
    What other processes tell in them is applied.
    """
    own = {each.payload: each for each in claims}
    taken: dict[str, str] = {}  # job -> miner, in other processes
    contested: list[tuple[Claim, dict[str, str]]] = []
    for event in events:
        if event.ours:
            claim = own.get(event.payload)
            if claim is not None and claim.miner_id in taken.values():
                contested.append((claim, dict(taken)))
        elif event.kind in (JOB, RESERVATION):
            try:
                slot = (apply_job if event.kind == JOB else apply_reservation)(ledger, event.payload)
            except Unreadable:  # which whoever reads the stream tells
                continue
            if slot is not None:
                taken[slot.job_id] = slot.miner_id
    lost = []
    for claim, before in contested:
        later = sum(miner_id == claim.miner_id != before.get(job_id) for job_id, miner_id in taken.items())
        if registry.room(claim.miner_id) + later < 0:
            lost.append(claim)
    return lost


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
