"""What is promised with a reservation, kept over the loss of the store: the ledger and the database's copy together.

Guarantee. What was answered is in the database before, so that a store filled from there holds all of it; what was
ended is ended there first, so that nothing comes back. A slot is never given twice on the way: after the copy is
written, the store is asked once more whether it holds the reservation, since it may have been lost and filled before
the copy was complete. The database is written and waited for without the registry's lock: no match waits for it.

Where the copy cannot be written the slot stays taken until its time is over: the job, asked again, gets it.
"""

import threading
from collections.abc import Iterable, Sequence
from functools import partial

from matching.reservations.base import Reservation, once_filled
from matching.reservations.holds import Outcome
from matching.reservations.runtime import get_ledger
from matching.reservations.table import reservations_end, reservations_write
from matching.reservations.turns import turn
from miners.registry import runtime
from poolhub.common import clock
from poolhub.common.errors import Unavailable

RETRY_S = 1.0
OWED_FOR_S = 600.0  # no reservation lasts longer


def reservations_keep(granted: Sequence[Reservation]) -> dict[str, Reservation]:
    """Make them good to answer: by id, as they are now, without those that have ended meanwhile. Raises Unavailable."""
    ended = reservations_write(granted)
    kept = [_kept(each, ended=each.id in ended) for each in granted]
    return {each.id: each for each in kept if each is not None}


def reservation_end(reservation_id: str) -> None:
    """Raises Unavailable where the slot could not be freed yet: then it is, as soon as the store is back."""
    known = reservations_end([reservation_id])
    try:
        _release(reservation_id)
    except Unavailable:
        owed.add([reservation_id])
        raise
    if not known:  # being written at this moment, maybe
        reservations_end([reservation_id])


def job_settle(*, job_id: str, miner_id: str, outcome: Outcome, ended: Sequence[str]) -> None:
    """Tell the ledger what was told of a job; `ended` are the reservations that the database has ended for it.

    Raises nothing while the store is away: what was told is stored, and the slots are freed as soon as it is back.
    """
    try:
        settle = partial(get_ledger().settle, job_id, miner_id, outcome, now=clock.now(), turn=turn)
        released = once_filled(settle)
        if released is not None and released.id not in ended:  # it was being written when the database was asked
            reservations_end([released.id])
        for reservation_id in ended:
            if released is None or released.id != reservation_id:  # gone already; whoever counts it still is told
                _release(reservation_id)
    except Unavailable:
        owed.add(ended)


def _kept(each: Reservation, *, ended: bool) -> Reservation | None:
    """The reservation as the store holds it, once the copy says the same."""
    while not ended:
        held = once_filled(partial(get_ledger().store.of_job, each.job_id, now=clock.now()))
        if held == each:
            return held
        if held is None or held.id != each.id:
            reservations_end([each.id])
            break
        # renewed by somebody else meanwhile: whoever writes last looks last
        each, ended = held, held.id in reservations_write([held])
    _release(each.id)
    return None


def _release(reservation_id: str) -> None:
    once_filled(partial(_release_now, reservation_id))


def _release_now(reservation_id: str) -> None:
    with turn():
        get_ledger().release(reservation_id, now=clock.now())


class Owed:
    """Reservations that are ended, but still hold their slots in a store that was away. A crash forgets them: they end
    with their time then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def add(self, ids: Iterable[str]) -> None:
        with self._lock:
            self._until.update(dict.fromkeys(ids, clock.now() + OWED_FOR_S))
        runtime.every(RETRY_S, self.pay, "reservations-owed")

    def pay(self) -> None:
        """As far as the store answers."""
        with self._lock:
            waiting = list(self._until.items())
        for reservation_id, until in waiting:
            if until > clock.now():
                try:
                    _release(reservation_id)
                except Unavailable:
                    return
            with self._lock:
                self._until.pop(reservation_id, None)


owed = Owed()
