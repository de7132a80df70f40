"""Reservations in Redis, shared by all processes: each step is one Lua script, by the server's own clock.

Guarantees, beyond those of the protocol. What is over stops counting at its time, in every process, without anybody's
action. A script decides only on a server process that was filled: after a flush, an eviction, a restart or a fail-over,
even one that brought older data back, every script refuses until somebody has filled it from `copy`, which holds all
that was ever answered; whoever else asks meanwhile waits a little, then gets Unavailable. While Redis is away or cannot
write, callers get Unavailable: the first after its time-out, the others at once. A call that timed out may have taken
effect: the job, asked again, gets what it has then.

Needs Redis 7 or Valkey, and one server (or one hash slot) for all keys.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ReadOnlyError, RedisError

from matching.reservations.base import Place, Reservation, Unfilled
from poolhub.common.breaker import Breaker
from poolhub.common.errors import Unavailable

logger = logging.getLogger(__name__)

LUA = Path(__file__).parent / "lua"
SCRIPTS = ("take", "renew", "release", "of_job", "live", "count", "purge", "seed_begin", "seed_add", "seed_end")
PREFIX = "{poolhub}:res:"
KEPT_EVENTS = 50_000
PAGE = 1000
MICRO = 1_000_000
REST_S = 1.0  # how long a Redis that failed is left alone
FILL_WAIT_S, FILL_POLL_S = 1.0, 0.02
FILL_SILENCE_MS = 10_000  # a process that fills and says nothing for so long has died
FILL_CHUNK = 500


class RedisStore:
    """
    Parameters
    ----------
    copy : all that was answered and has not ended.
    events : key of the stream, under the same hash tag, on which every change is told in the step that makes it.
    server_time : False lets the callers' `now` count instead, for tests with a clock of their own.
    """

    def __init__(
        self,
        client: Redis,
        *,
        copy: Callable[[], Iterable[Reservation]],
        prefix: str = PREFIX,
        events: str | None = None,
        kept_events: int = KEPT_EVENTS,
        server_time: bool = True,
    ) -> None:
        self._client = client
        self._scripts = {name: client.register_script(_source(name)) for name in SCRIPTS}
        self._copy = copy
        self._kept_events = kept_events
        self._server_time = server_time
        self._breaker = Breaker(rest_s=REST_S)
        self._keys = [prefix + name for name in ("records", "jobs", "ends", "slots", "lock", "told")]
        if events is not None:
            self._keys.append(events)

    def take(self, *, job_id: str, places: Sequence[Place], ttl_ms: int, now: float) -> Reservation | None:
        rooms = chain.from_iterable((each.miner_id, each.limit) for each in places)
        return _one(self._call("take", now, job_id, str(uuid.uuid4()), ttl_ms, *rooms))

    def renew(self, reservation_id: str, *, ttl_ms: int | None, now: float) -> Reservation | None:
        lasts_ms = "" if ttl_ms is None else ttl_ms
        return _one(self._call("renew", now, reservation_id, lasts_ms))

    def release(self, reservation_id: str, *, now: float) -> Reservation | None:
        return _one(self._call("release", now, reservation_id))

    def of_job(self, job_id: str, *, now: float) -> Reservation | None:
        return _one(self._call("of_job", now, job_id))

    def live(self, *, now: float) -> list[Reservation]:
        """Read in pages, each of them as of its own moment."""
        found: dict[str, Reservation] = {}
        first, limit = 0, PAGE
        while True:
            page = self._call("live", now, first, limit)
            found.update((each.id, each) for each in map(_reservation, page))
            if len(page) < limit:
                return sorted(found.values(), key=lambda each: (each.expires_at, each.id))
            if page[-1][4] == first:  # a whole page ends at one microsecond
                limit *= 2
            first = page[-1][4]

    def count(self, *, now: float) -> int:
        return int(self._call("count", now))

    def purge(self) -> None:
        """Free the memory of what is over."""
        while self._call("purge", 0.0):
            pass

    def fill(self) -> None:
        """Bring back from the copy what the server lost. Returns once it is filled, by whomever."""
        token = uuid.uuid4().hex
        if not self._begin(token):
            return
        written = 0
        try:
            for chunk in _chunks(self._copy(), FILL_CHUNK):
                values = chain.from_iterable(map(_values, chunk))
                written += self._call("seed_add", 0.0, token, FILL_SILENCE_MS, *values)
        except BaseException:
            with suppress(Unavailable):
                self._end(token, "given up")
            raise
        self._end(token, "filled")
        level = logging.WARNING if written else logging.DEBUG  # a new Redis is filled too, with nothing
        logger.log(level, "the reservations in Redis were filled from the database: %d", written)

    def _begin(self, token: str) -> bool:
        """False where the store is filled already, or was by another process meanwhile."""
        until = time.monotonic() + FILL_WAIT_S
        while True:
            state = self._call("seed_begin", 0.0, token, FILL_SILENCE_MS)
            if state != b"busy":
                return bool(state == b"begun")
            if time.monotonic() > until:
                raise Unavailable("The reservations are being read back. Try again.")
            time.sleep(FILL_POLL_S)

    def _end(self, token: str, how: str) -> None:
        self._call("seed_end", 0.0, token, how)

    def _call(self, name: str, now: float, *args: Any) -> Any:
        if not self._breaker.allows():
            raise Unavailable("Redis does not answer. Try again.")
        now_us = "" if self._server_time else f"{now * MICRO:.0f}"
        try:
            answer = self._scripts[name](keys=self._keys, args=(now_us, self._kept_events, *args))
        except RedisError as error:
            if str(error).startswith("UNFILLED"):
                self._worked()
                raise Unfilled(self.fill) from None
            if isinstance(error, ReadOnlyError):  # a fail-over: this server is the replica now
                self._client.connection_pool.disconnect()
            if self._breaker.failed():
                logger.warning("reservations: Redis fails: %s", error)
            raise Unavailable("Redis does not answer. Try again.") from error
        self._worked()
        return answer

    def _worked(self) -> None:
        if self._breaker.worked():
            logger.warning("reservations: Redis works again")


@cache
def _source(name: str) -> str:
    """The script with its flags first, then what all scripts share."""
    flags, _, rest = (LUA / f"{name}.lua").read_text(encoding="utf-8").partition("\n")
    common = (LUA / "common.lua").read_text(encoding="utf-8")
    return f"{flags}\n{common}\n{rest}"


def _one(answer: Any) -> Reservation | None:
    return None if answer is None else _reservation(answer)


def _reservation(answer: Sequence[Any]) -> Reservation:
    reservation_id, job_id, miner_id, ttl_ms, ends_us, revision = answer
    return Reservation(reservation_id.decode(), job_id.decode(), miner_id.decode(), ttl_ms, ends_us / MICRO, revision)


def _values(each: Reservation) -> tuple[str, str, str, int, int]:
    return each.id, each.job_id, each.miner_id, each.ttl_ms, round(each.expires_at * MICRO)


def _chunks(each: Iterable[Reservation], size: int) -> Iterator[list[Reservation]]:
    left = iter(each)
    while chunk := list(islice(left, size)):
        yield chunk
