"""Reservations of a hub that is one process: they live with it, and come back from the database's copy at its start."""

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence

from matching.reservations.base import Place, Reservation

SPARE = 1024


class MemoryStore:
    def __init__(self, reservations: Iterable[Reservation] = ()) -> None:
        self._lock = threading.RLock()
        self._by_id: dict[str, Reservation] = {}
        self._by_job: dict[str, str] = {}
        self._per_miner: defaultdict[str, set[str]] = defaultdict(set)
        self._purge_at = SPARE
        for each in sorted(reservations, key=lambda each: each.expires_at):
            if each.job_id in self._by_job:  # the one that ends later stays
                self._drop(self._by_id[self._by_job[each.job_id]])
            self._put(each)

    def take(self, *, job_id: str, places: Sequence[Place], ttl_ms: int, now: float) -> Reservation | None:
        with self._lock:
            held = self.of_job(job_id, now=now)
            if held is not None:
                return held
            for place in places:
                if self._count(place.miner_id, now) < place.limit:
                    made = Reservation(str(uuid.uuid4()), job_id, place.miner_id, ttl_ms, now + ttl_ms / 1000)
                    self._put(made)
                    self._purge(now)
                    return made
            return None

    def renew(self, reservation_id: str, *, ttl_ms: int | None, now: float) -> Reservation | None:
        with self._lock:
            held = self._get(reservation_id, now)
            if held is None:
                return None
            lasts_ms = held.ttl_ms if ttl_ms is None else ttl_ms
            renewed = Reservation(held.id, held.job_id, held.miner_id, held.ttl_ms, now + lasts_ms / 1000)
            self._by_id[held.id] = renewed
            return renewed

    def release(self, reservation_id: str, *, now: float) -> Reservation | None:
        with self._lock:
            held = self._get(reservation_id, now)
            if held is not None:
                self._drop(held)
            return held

    def of_job(self, job_id: str, *, now: float) -> Reservation | None:
        with self._lock:
            return self._get(self._by_job.get(job_id, ""), now)

    def live(self, *, now: float) -> list[Reservation]:
        with self._lock:
            for each in list(self._by_id.values()):
                self._get(each.id, now)
            return sorted(self._by_id.values(), key=lambda each: (each.expires_at, each.id))

    def count(self, *, now: float) -> int:
        with self._lock:
            return sum(each.expires_at > now for each in self._by_id.values())

    def _count(self, miner_id: str, now: float) -> int:
        return sum(self._get(each, now) is not None for each in tuple(self._per_miner.get(miner_id, ())))

    def _get(self, reservation_id: str, now: float) -> Reservation | None:
        """The reservation while it lives; one that is over is dropped on the way."""
        held = self._by_id.get(reservation_id)
        if held is not None and held.expires_at <= now:
            self._drop(held)
            return None
        return held

    def _put(self, made: Reservation) -> None:
        self._by_id[made.id] = made
        self._by_job[made.job_id] = made.id
        self._per_miner[made.miner_id].add(made.id)

    def _drop(self, held: Reservation) -> None:
        del self._by_id[held.id], self._by_job[held.job_id]
        self._per_miner[held.miner_id].discard(held.id)
        if not self._per_miner[held.miner_id]:
            del self._per_miner[held.miner_id]

    def _purge(self, now: float) -> None:
        """What is over and never asked for again must not stay: looked through whenever twice as many are kept."""
        if len(self._by_id) >= self._purge_at:
            self.live(now=now)
            self._purge_at = 2 * len(self._by_id) + SPARE
