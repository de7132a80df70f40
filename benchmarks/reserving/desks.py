"""Where a slot is asked for: the store in Redis, the hub's whole path, and a check that is followed by an act."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from redis import Redis

TTL_MS = 60_000
TOP_K = 10
PLAIN = "bench:plain:"


class Desk(Protocol):
    def take(self, job_id: str, ranked: Sequence[str]) -> tuple[str, str] | None:
        """Reservation and miner; None where all that are ranked are full."""

    def release(self, reservation_id: str, miner_id: str) -> None: ...


class Store:
    """The store alone, as the hub uses it: every change is told on the stream of events too."""

    def __init__(self, url: str, limits: Mapping[str, int]) -> None:
        from matching.reservations.base import Place  # noqa: PLC0415 - wants Django set up, as the other desks do not
        from matching.reservations.redis import RedisStore  # noqa: PLC0415
        from miners.registry.bus import EVENTS  # noqa: PLC0415

        self._places = {miner_id: Place(miner_id, limit) for miner_id, limit in limits.items()}
        self._store = RedisStore(Redis.from_url(url), copy=tuple, events=EVENTS)
        self._store.fill()

    def take(self, job_id: str, ranked: Sequence[str]) -> tuple[str, str] | None:
        places = [self._places[each] for each in ranked]
        made = self._store.take(job_id=job_id, places=places, ttl_ms=TTL_MS, now=0)
        return None if made is None else (made.id, made.miner_id)

    def release(self, reservation_id: str, miner_id: str) -> None:
        assert self._store.release(reservation_id, now=0) is not None


class CheckThenAct:
    """On the same server: look whether there is room, then take it."""

    def __init__(self, url: str, limits: Mapping[str, int]) -> None:
        self._redis, self._limits = Redis.from_url(url), limits

    def take(self, job_id: str, ranked: Sequence[str]) -> tuple[str, str] | None:
        for miner_id in ranked:
            now = time.time()
            if self._redis.zcount(PLAIN + miner_id, now, "+inf") < self._limits[miner_id]:  # type: ignore[operator]
                self._redis.zadd(PLAIN + miner_id, {job_id: now + TTL_MS / 1000})
                return job_id, miner_id
        return None

    def release(self, reservation_id: str, miner_id: str) -> None:
        assert self._redis.zrem(PLAIN + miner_id, reservation_id) == 1


class Hub:
    """All that `POST /v1/match` with `reserve` does behind HTTP: what other processes have told is caught up with, the
    pool is ranked, the store decides, the database keeps a copy, and the store is asked once more."""

    def __init__(self, _url: str, _limits: Mapping[str, int]) -> None:
        from matching.reservations.runtime import get_ledger  # noqa: PLC0415
        from matching.serializers import MatchRequest, Requirements  # noqa: PLC0415
        from matching.services import match_find, reservation_release  # noqa: PLC0415

        get_ledger()
        self._find, self._release = match_find, reservation_release
        asked = itertools.cycle([Requirements(min_vram_gb=gb) for gb in (None, 8, 10, 12, 16, 24)])
        self._request = lambda job_id: MatchRequest(
            job_id=job_id, requirements=next(asked), top_k=TOP_K, reserve=True, reservation_ttl_ms=TTL_MS
        )

    def take(self, job_id: str, ranked: Sequence[str]) -> tuple[str, str] | None:
        made = self._find(request=self._request(job_id)).reservation
        return (made.id, made.miner_id) if made else None

    def release(self, reservation_id: str, miner_id: str) -> None:
        self._release(reservation_id=reservation_id)


DESKS: dict[str, Callable[[str, Mapping[str, int]], Desk]] = {
    "store": Store, "check, then act": CheckThenAct, "whole path": Hub
}  # fmt: skip
