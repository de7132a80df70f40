"""Who occupies what by the hub's own doing: the live reservations and holds of this process, and their count in the
registry's `own`, which nothing else writes.

Guarantee. Every change happens under the registry's lock, so a match and the slot it takes are one step: two matches
never take the same slot. What runs out is out at its time: the registry asks the ledger to expire before whatever
depends on it. A job has at most one hold or one reservation, never both.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from matching.reservations.base import Place, Reservation, ReservationStore
from miners.registry.store import Registry
from poolhub.common.errors import Unavailable

SPARE_ENDS = 1024


class Outcome(StrEnum):
    """What a coordinator says of a job on a miner (contract, section 5)."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    COMPLETED = "completed"


@dataclass(slots=True)
class Hold:
    """One slot that is kept for a job, which may or may not come."""

    job_id: str
    miner_id: str
    expires_at: float  # epoch seconds
    candidates: tuple[str, ...]  # of the newest answer
    accepted: bool = False


class Ledger:
    def __init__(self, registry: Registry, store: ReservationStore, *, job_ttl_s: float) -> None:
        self._registry = registry
        self._store = store
        self._job_ttl_s = job_ttl_s
        self._holds: dict[str, Hold] = {}  # by job
        self._reservations: dict[str, Reservation] = {}  # by id
        self._by_job: dict[str, Reservation] = {}  # the same by job
        self._reserved: Counter[str] = Counter()  # reservations a miner
        self._ends: list[tuple[float, int, Hold | Reservation]] = []  # a heap; what was renewed or ended is passed over
        self._serial = count()

    # ---- for a match

    @property
    def store(self) -> ReservationStore:
        """What decides; here it is only counted."""
        return self._store

    def reservation_of(self, job_id: str, *, now: float) -> Reservation | None:
        """As it is counted here: no store is asked, so that a match needs none."""
        with self._registry.lock:
            self.expire(now)
            return self._by_job.get(job_id)

    @contextmanager
    def without(self, job_id: str, *, now: float) -> Iterator[None]:
        """For the block, which the registry's lock covers, the job's own slot does not count against it."""
        with self._registry.lock:
            self.expire(now)
            held = [each.miner_id for each in (self._holds.get(job_id), self.reservation_of(job_id, now=now)) if each]
            for miner_id in held:
                self._registry.add_own(miner_id, -1)
            try:
                yield
            finally:
                for miner_id in held:
                    self._registry.add_own(miner_id, 1)

    def hold(self, job_id: str, candidates: Sequence[str], *, ttl_ms: int, now: float) -> None:
        """Keep a slot of the first candidate for a while: the job's hold moves there, its time starts anew.

        An accepted hold stays where it is; a job with a live reservation gets none; without a candidate it ends.
        """
        with self._registry.lock:
            self.expire(now)
            held = self._holds.get(job_id)
            if held is not None and held.accepted:
                held.candidates = tuple(candidates)
                return
            self._end_hold(job_id)
            if candidates and self.reservation_of(job_id, now=now) is None:
                self._begin_hold(Hold(job_id, candidates[0], now + ttl_ms / 1000, tuple(candidates)))

    def reserve(self, job_id: str, candidates: Sequence[str], *, ttl_ms: int, now: float) -> Reservation | None:
        """A slot of the first candidate that has one, in place of the job's hold; None leaves the hold as it was."""
        with self._registry.lock:
            with self.without(job_id, now=now):
                places = [Place(each, self._limit(each, job_id)) for each in candidates]
                made = self._store.take(job_id=job_id, places=places, ttl_ms=ttl_ms, now=now)
            if made is not None:
                self._end_hold(job_id)
                self.count(made, now=now)
            return made

    # ---- for the coordinator

    def renew(self, reservation_id: str, *, ttl_ms: int | None, now: float) -> Reservation | None:
        with self._registry.lock:
            self.expire(now)
            renewed = self._store.renew(reservation_id, ttl_ms=ttl_ms, now=now)
            if renewed is not None:
                self.count(renewed, now=now)
            return renewed

    def release(self, reservation_id: str, *, now: float) -> None:
        """Harmless where it is gone already."""
        with self._registry.lock:
            self.expire(now)
            self._store.release(reservation_id, now=now)
            self._end(reservation_id)

    def live(self, *, now: float) -> list[Reservation]:
        with self._registry.lock:
            self.expire(now)
            return self._store.live(now=now)

    def settle(self, job_id: str, miner_id: str, outcome: Outcome, *, now: float) -> Reservation | None:
        """What feedback does to the job's hold and reservation (contract, sections 5 and 6); the one that it ends."""
        with self._registry.lock:
            self.expire(now)
            hold = self._holds.get(job_id)
            if outcome is Outcome.ACCEPTED:
                if hold is not None and miner_id in (hold.miner_id, *hold.candidates):
                    self._end_hold(job_id)
                    self._begin_hold(Hold(job_id, miner_id, now + self._job_ttl_s, hold.candidates, accepted=True))
                return None
            final = outcome is not Outcome.REJECTED
            if hold is not None and (final or hold.miner_id == miner_id):
                self._end_hold(job_id)
            reservation = self._store.of_job(job_id, now=now)  # after the hold: the store may be away
            if reservation is None or not (final or reservation.miner_id == miner_id):
                return None
            self.release(reservation.id, now=now)
            return reservation

    # ---- for what the store knows

    def count(self, found: Reservation, *, now: float) -> None:
        """Count it if it is not counted yet; from now on it is known as it is told."""
        with self._registry.lock:
            self.expire(now)
            if found.id not in self._reservations:
                before = self._by_job.get(found.job_id)
                if before is not None:  # it has ended: a job has one
                    self._end(before.id)
                self._reserved[found.miner_id] += 1
                self._registry.add_own(found.miner_id, 1)
            self._reservations[found.id] = self._by_job[found.job_id] = found
            self._watch(found)

    # ---- for the registry

    def expire(self, now: float) -> None:
        """End what has run out by now, here: the store knows the time itself, and of renewals by other processes."""
        while self._ends and self._ends[0][0] <= now:
            _, _, ended = heapq.heappop(self._ends)
            if isinstance(ended, Hold):
                if self._holds.get(ended.job_id) is ended:
                    self._end_hold(ended.job_id)
            elif self._reservations.get(ended.id) is ended:
                self._end(ended.id)

    def forget(self, miner_id: str) -> None:
        """Drop what a miner that is removed holds."""
        for job_id in [job_id for job_id, hold in self._holds.items() if hold.miner_id == miner_id]:
            self._end_hold(job_id)
        for each in [each for each in self._reservations.values() if each.miner_id == miner_id]:
            with suppress(Unavailable):  # then it ends at its time
                self._store.release(each.id, now=each.expires_at - 1)
            self._end(each.id)

    # ---- inside

    def _begin_hold(self, hold: Hold) -> None:
        self._holds[hold.job_id] = hold
        self._registry.add_own(hold.miner_id, 1)
        self._watch(hold)

    def _end_hold(self, job_id: str) -> None:
        hold = self._holds.pop(job_id, None)
        if hold is not None:
            self._registry.add_own(hold.miner_id, -1)

    def _limit(self, miner_id: str, job_id: str) -> int:
        """Live reservations that a miner may have: its slots without holds and foreign jobs.

        The block of `without` has left the job's own one out of the registry's count, so it is left out here too.
        """
        own = self._by_job.get(job_id)
        mine = own is not None and own.miner_id == miner_id
        return self._registry.room(miner_id) + self._reserved[miner_id] - mine

    def _end(self, reservation_id: str) -> None:
        ended = self._reservations.pop(reservation_id, None)
        if ended is not None:
            del self._by_job[ended.job_id]
            self._reserved[ended.miner_id] -= 1
            if not self._reserved[ended.miner_id]:
                del self._reserved[ended.miner_id]
            self._registry.add_own(ended.miner_id, -1)

    def _watch(self, each: Hold | Reservation) -> None:
        heapq.heappush(self._ends, (each.expires_at, next(self._serial), each))
        if len(self._ends) > 2 * (len(self._holds) + len(self._reservations)) + SPARE_ENDS:
            # accepted jobs that ended early would stay here for JOB_TTL_SEC
            self._ends = [end for end in self._ends if self._lives(end[2])]
            heapq.heapify(self._ends)

    def _lives(self, each: Hold | Reservation) -> bool:
        if isinstance(each, Hold):
            return self._holds.get(each.job_id) is each
        return self._reservations.get(each.id) is each
