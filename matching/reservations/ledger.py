"""Who occupies what by the hub's own doing: live reservations and holds, and their count in the registry's `own`,
which nothing else writes.

Guarantee. Every change happens under the registry's lock, the call of the store too: in one process a match and the
slot that it takes are one step. What runs out is out at its time: the registry asks the ledger to expire before
whatever depends on it. A job has at most one hold or one reservation, never both.

With other processes: what happens to a job here is told to them, and what they tell is applied here (`apply`), in any
order. Reservations are decided by the store alone; here they are counted, in their newest state (`count`).
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import count as counting

from matching.reservations.base import Place, Reservation, ReservationStore
from matching.reservations.holds import KEPT_S, Happening, Hold, Job, Offered, Outcome, Told, Was
from miners.registry.store import Registry
from poolhub.common.errors import Unavailable

SPARE_ENDS = 1024

Tell = Callable[[str, Sequence[Happening]], None]


class Ledger:
    def __init__(
        self, registry: Registry, store: ReservationStore, *, job_ttl_s: float, tell: Tell | None = None
    ) -> None:
        """tell: have other processes apply what happened to a job; called with the lock held."""
        self._registry = registry
        self._store = store
        self._job_ttl_s = job_ttl_s
        self._tell = tell
        self._jobs: dict[str, Job] = {}
        self._own: set[str] = set()  # jobs of which something happened in this process
        self._reservations: dict[str, Reservation] = {}  # by id
        self._by_job: dict[str, Reservation] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()  # ids that must not come back, and until when it is kept
        self._reserved: Counter[str] = Counter()  # reservations a miner
        self._ends: list[tuple[float, int, str | Reservation]] = []  # a heap; what has changed since is passed over
        self._serial = counting()

    # ---- for a match

    @property
    def store(self) -> ReservationStore:
        """What decides; here it is only counted."""
        return self._store

    @property
    def shared(self) -> bool:
        """Whether other processes hear of what happens to jobs here."""
        return self._tell is not None

    def reservation_of(self, job_id: str, *, now: float) -> Reservation | None:
        """As far as this process knows."""
        with self._registry.lock:
            self.expire(now)
            return self._by_job.get(job_id)

    @contextmanager
    def without(self, job_id: str, *, now: float) -> Iterator[None]:
        """For the block, which the registry's lock covers, the job's own slot does not count against it."""
        with self._registry.lock:
            self.expire(now)
            held = [each.miner_id for each in (self.hold_of(job_id), self._by_job.get(job_id)) if each]
            for miner_id in held:
                self._registry.add_own(miner_id, -1)
            try:
                yield
            finally:
                for miner_id in held:
                    self._registry.add_own(miner_id, 1)

    def hold(self, job_id: str, candidates: Sequence[str], *, ttl_ms: int, now: float) -> Offered | None:
        """Keep a slot of the first candidate for a while: the job's hold moves there, its time starts anew.

        An accepted hold stays where it is; a job with a live reservation gets none; without a candidate it ends.
        Returns what happened to the job, None where nothing did.
        """
        with self._registry.lock:
            self.expire(now)
            if job_id in self._by_job or not (candidates or job_id in self._jobs):
                return None
            offered = Offered(self._stamped(now), tuple(candidates), now + ttl_ms / 1000)
            self._happen(job_id, offered)
            return offered

    def reserve(self, job_id: str, candidates: Sequence[str], *, ttl_ms: int, now: float) -> Reservation | None:
        """A slot of the first candidate that has one, in place of the job's hold; None leaves the hold as it was."""
        with self._registry.lock:
            with self.without(job_id, now=now):
                places = [Place(each, self._limit(each, job_id)) for each in candidates]
                made = self._store.take(job_id=job_id, places=places, ttl_ms=ttl_ms, now=now)
            if made is not None:
                if self.hold_of(job_id) is not None:
                    self._happen(job_id, Was(self._stamped(now), None))
                self.count(made, now=now)
            return made

    def hold_of(self, job_id: str) -> Hold | None:
        """As far as this process knows."""
        job = self._jobs.get(job_id)
        return None if job is None else job.hold

    # ---- for the coordinator

    def renew(self, reservation_id: str, *, ttl_ms: int | None, now: float) -> Reservation | None:
        with self._registry.lock:
            renewed = self._store.renew(reservation_id, ttl_ms=ttl_ms, now=now)
            if renewed is not None:
                self.count(renewed, now=now)
            return renewed

    def release(self, reservation_id: str, *, now: float) -> None:
        """Harmless where it is gone already."""
        with self._registry.lock:
            self._store.release(reservation_id, now=now)
            self.uncount(reservation_id, now=now)

    def live(self, *, now: float) -> list[Reservation]:
        with self._registry.lock:
            return self._store.live(now=now)

    def settle(
        self,
        job_id: str,
        miner_id: str,
        outcome: Outcome,
        *,
        now: float,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Reservation | None:
        """What feedback does to the job's hold and reservation (contract, sections 5 and 6); the one that it ends.

        turn: what has to be held while the store is asked. The hold comes first: the store may be away.
        """
        with self._registry.lock:
            self.expire(now)
            # told even where no hold is known here: the process that gave it may be another one
            if self._tell is not None or self.hold_of(job_id) is not None:
                self._happen(job_id, Told(self._stamped(now), miner_id, outcome, now + self._job_ttl_s))
        if outcome is Outcome.ACCEPTED:
            return None
        with turn(), self._registry.lock:
            reservation = self._store.of_job(job_id, now=now)
            if reservation is None or (outcome is Outcome.REJECTED and reservation.miner_id != miner_id):
                return None
            self.release(reservation.id, now=now)
            return reservation

    # ---- for the registry

    def expire(self, now: float) -> None:
        """End what has run out by now, here: the store knows the time itself, and of renewals by other processes."""
        while self._ends and self._ends[0][0] <= now:
            _, _, ended = heapq.heappop(self._ends)
            if isinstance(ended, str):
                self._expire_job(ended, now)
            elif self._reservations.get(ended.id) is ended:
                self._drop(ended.id)
        while self._ended and next(iter(self._ended.values())) <= now:
            self._ended.popitem(last=False)

    def forget(self, miner_id: str) -> None:
        """Drop what a miner that is removed holds."""
        for job in [job for job in self._jobs.values() if job.hold is not None and job.hold.miner_id == miner_id]:
            self._apply(job.job_id, Was(job.newest_at, None))
        for each in [each for each in self._reservations.values() if each.miner_id == miner_id]:
            with suppress(Unavailable):  # then it ends at its time
                self._store.release(each.id, now=each.expires_at - 1)
            self._drop(each.id)

    # ---- for other processes

    def apply(self, job_id: str, happened: Sequence[Happening]) -> None:
        """What happened to a job elsewhere; told again, it changes nothing."""
        with self._registry.lock:
            for each in happened:
                job = self._jobs.get(job_id)
                if job is None or each not in job.happened:
                    self._apply(job_id, each)

    def count(self, reservation: Reservation, *, now: float) -> None:
        """A reservation as it is now, made or renewed here or elsewhere; an older state changes nothing."""
        with self._registry.lock:
            self.expire(now)
            held = self._reservations.get(reservation.id)
            if reservation.id in self._ended or (held is not None and held.revision > reservation.revision):
                return
            if reservation.expires_at <= now:
                return
            if held is None:
                before = self._by_job.get(reservation.job_id)
                if before is not None:  # it has ended: a job has one
                    self._drop(before.id)
                self._reserved[reservation.miner_id] += 1
                self._registry.add_own(reservation.miner_id, 1)
            self._reservations[reservation.id] = self._by_job[reservation.job_id] = reservation
            self._watch(reservation.expires_at, reservation)

    def uncount(self, reservation_id: str, *, now: float) -> None:
        """It has ended, here or elsewhere."""
        with self._registry.lock:
            self.expire(now)
            self._ended[reservation_id] = now + KEPT_S
            self._drop(reservation_id)

    def happened_here(self) -> list[tuple[str, list[Happening]]]:
        """All that this process knows of jobs that it had to do with, to be told once more."""
        with self._registry.lock:
            return [(job_id, list(self._jobs[job_id].happened)) for job_id in self._own if job_id in self._jobs]

    def happened(self) -> list[tuple[str, list[Happening]]]:
        """All that is known of any job."""
        with self._registry.lock:
            return [(job_id, list(job.happened)) for job_id, job in self._jobs.items()]

    # ---- inside

    def _limit(self, miner_id: str, job_id: str) -> int:
        """Live reservations that a miner may have: its slots without holds and foreign jobs.

        The block of `without` has left the job's own one out of the registry's count, so it is left out here too.
        """
        own = self._by_job.get(job_id)
        mine = own is not None and own.miner_id == miner_id
        return self._registry.room(miner_id) + self._reserved[miner_id] - mine

    def _stamped(self, now: float) -> float:
        return now if self._tell is None else self._registry.stamped(now)

    def _happen(self, job_id: str, happened: Happening) -> None:
        """Here first, then elsewhere."""
        self._apply(job_id, happened)
        if self._tell is not None:
            self._own.add(job_id)
            self._tell(job_id, [happened])

    def _apply(self, job_id: str, happened: Happening) -> None:
        job = self._jobs.setdefault(job_id, Job(job_id))
        before = job.hold
        job.add(happened)
        self._move(before, job.hold)
        if job.hold is None and self._tell is None:
            del self._jobs[job_id]
        else:
            self._watch(self._over_at(job), job_id)

    def _over_at(self, job: Job) -> float:
        """When there is something to do about a job: its hold ends, or nothing older can become known any more."""
        return job.newest_at + KEPT_S if job.hold is None else job.hold.expires_at

    def _expire_job(self, job_id: str, now: float) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            return
        if job.hold is not None and job.hold.expires_at <= now:
            before, job.hold = job.hold, None
            self._move(before, None)
        if job.hold is None and (self._tell is None or job.newest_at + KEPT_S <= now):
            del self._jobs[job_id]
            self._own.discard(job_id)
        elif job.hold is None:
            self._watch(job.newest_at + KEPT_S, job_id)

    def _move(self, before: Hold | None, after: Hold | None) -> None:
        if before is not None:
            self._registry.add_own(before.miner_id, -1)
        if after is not None:
            self._registry.add_own(after.miner_id, 1)

    def _drop(self, reservation_id: str) -> None:
        ended = self._reservations.pop(reservation_id, None)
        if ended is None:
            return
        if self._by_job.get(ended.job_id) is ended:
            del self._by_job[ended.job_id]
        self._reserved[ended.miner_id] -= 1
        if not self._reserved[ended.miner_id]:
            del self._reserved[ended.miner_id]
        self._registry.add_own(ended.miner_id, -1)

    def _watch(self, at: float, each: str | Reservation) -> None:
        heapq.heappush(self._ends, (at, next(self._serial), each))
        if len(self._ends) > 2 * (len(self._jobs) + len(self._reservations)) + SPARE_ENDS:
            # accepted jobs that ended early would stay here for JOB_TTL_SEC
            jobs = [(self._over_at(job), next(self._serial), job.job_id) for job in self._jobs.values()]
            kept = [(made.expires_at, next(self._serial), made) for made in self._reservations.values()]
            self._ends = [*jobs, *kept]
            heapq.heapify(self._ends)
