"""The hub's snapshot in Redis: one process makes it, those that start take it.

Promises. What is taken is one moment of the maker's registry, with its place on both streams, and these still hold
all that came since: where they do not, it is refused. A maker is elected by a lease and writes under it: one that stood
still until another had taken over writes nothing, and begins anew. A snapshot lives for KEEP_MS; without one, or with
one that is refused, a process reads the database and asks the others.

Cost. Rows are given again by segments, where one of them has changed; what changes all the time always. The maker rests
so long that making takes no more than SHARE of its time and BYTES_PER_S of Redis, but for LONGEST_S at most.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, WatchError

from miners.registry import snapshot
from miners.registry.bus import EPOCH, EVENTS, KEEP_REPORTS_MS, REPORTS, Bus, NotYet, milliseconds
from miners.registry.snapshot import Head, Refused
from miners.registry.store import Registry

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
LONGEST_S = 4.0
SHARE = 0.02
BYTES_PER_S = 8 * 2**20
LEASE_MS = 8_000
KEEP_MS = 15_000
MAX_LAG_MS = 3_000  # a maker that is behind leaves it to others
MAX_AGE_MS = KEEP_REPORTS_MS // 2  # of its place on the stream, which is trimmed after KEEP_REPORTS_MS

KEY, LEASE = "{poolhub}:snapshot", "{poolhub}:snapshot:maker"
STAMP, MADE_AT = "stamp", "made_at"


class Maker:
    """One process's part in making it; called again and again, by one thread."""

    def __init__(self, bus: Bus, client: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.bus = bus
        self._client = client
        self._monotonic = monotonic
        self._count = 0
        self._edits: dict[int, int] = {}  # of the segments as they are in Redis
        self._due = -PERIOD_S

    def make(self) -> bool:
        """Where it is this process's part, and time. Raises RedisError."""
        if self._monotonic() < self._due or self.bus.lag_ms() > MAX_LAG_MS:
            return False
        with self._client.pipeline() as pipe:
            pipe.watch(LEASE, KEY)  # type: ignore[no-untyped-call]
            if pipe.get(LEASE) not in (None, self._name):
                self._edits = {}
                return False
            if pipe.hget(KEY, STAMP) != self._stamp:
                self._edits = {}  # another's, or none: all of it is written
            begun, begun_cpu = self._monotonic(), time.thread_time()
            try:
                copy = self.bus.copied(self._edits)
            except NotYet:
                return False
            parts = snapshot.encoded(copy)
            whole = not self._edits
            self._edits = {}  # until it is there
            self._count += 1
            pipe.multi()
            pipe.set(LEASE, self._name, px=LEASE_MS)
            if whole:
                pipe.delete(KEY)
            fields: dict[Any, Any] = {STAMP: self._stamp, MADE_AT: repr(time.time()), **parts}
            pipe.hset(KEY, mapping=fields)
            pipe.pexpire(KEY, KEEP_MS)
            try:
                pipe.execute()
            except WatchError:
                logger.info("another process makes the snapshot")
                return False
        self._edits = copy.edits
        spent = time.thread_time() - begun_cpu
        size = sum(map(len, parts.values()))
        self._due = begun + min(LONGEST_S, max(PERIOD_S / 2, spent / SHARE, size / BYTES_PER_S))
        return True

    def close(self) -> None:
        self._client.close()

    @property
    def _name(self) -> bytes:
        return b"%d" % self.bus.writer

    @property
    def _stamp(self) -> bytes:
        return b"%d:%d" % (self.bus.writer, self._count)


def take(registry: Registry, client: Redis, *, now: float) -> Head | None:
    """Fill an empty registry from the snapshot; None where there is none to be had, and the registry is of no use."""
    try:
        with client.pipeline() as pipe:
            pipe.hgetall(KEY)
            pipe.get(EPOCH)
            pipe.time()
            found, epoch, (seconds, _) = pipe.execute()
        parts = {name.decode(): data for name, data in found.items()}
        if not parts:
            logger.info("there is no snapshot: the database is read")
            return None
        head = snapshot.head_of(parts)
        _check_place(head, epoch, 1000 * seconds, client)
        return snapshot.restore(registry, parts, now=now)
    except Refused as error:
        logger.warning("the snapshot is refused, the database is read: %s", error)
    except (RedisError, OSError) as error:
        logger.warning("the snapshot is out of reach, the database is read: %s", error)
    except Exception:  # whatever is wrong with it, the database has all that lasts
        logger.exception("the snapshot cannot be taken, the database is read")
    return None


def _check_place(head: Head, epoch: bytes | None, now_ms: int, client: Redis) -> None:
    """Whether the streams hold all that came after it: they do as long as they hold what came last before it."""
    place = head.place
    if place.epoch != epoch:
        raise Refused("it belongs to streams that are lost")
    for stream in (REPORTS, EVENTS):
        position = place.positions.get(stream, b"0-0")
        if not client.xrange(stream, position, position):
            raise Refused("the streams do not reach back to it")
    age_ms = now_ms - milliseconds(place.positions[REPORTS])
    if age_ms > MAX_AGE_MS:
        raise Refused(f"it is {age_ms / 1000:.0f} s old")


def age_s(client: Redis, *, now: float) -> float | None:
    """None where there is no snapshot."""
    made_at = client.hget(KEY, MADE_AT)
    return None if made_at is None else max(0.0, now - float(made_at))
