"""Whether the hub's parts answer, within a second in any case, and what its registry says of the pool."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from msgspec import UNSET, Struct, UnsetType
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from matching.peers import asking
from miners.registry import runtime
from miners.registry.records import State
from poolhub.common import clock, redis
from poolhub.version import VERSION

logger = logging.getLogger(__name__)

DEADLINE_S = 0.7
MAX_LAG_MS = 5000
OK, DOWN, OFF = "ok", "down", "off"

_threads = ThreadPoolExecutor(max_workers=3, thread_name_prefix="health")


class RegistryHealth(Struct):
    miners: int
    lag_ms: float


class PeerHealth(Struct):
    """A peer hub as the process that answers has met it; what a peer does never degrades this hub."""

    status: str  # ok | down | idle, which has not been asked yet
    rests_s: float  # for how long it is left alone


class Health(Struct, kw_only=True):
    status: str  # ok | degraded
    online_miners: int  # online or degraded, so matchable
    miners_online: int  # the same under its older name
    avg_latency_ms: float | None
    db: str  # ok | down
    redis: str  # ok | down | off
    registry: RegistryHealth
    version: str
    peers: dict[str, PeerHealth] | UnsetType = UNSET  # where there are any


@dataclass(frozen=True, slots=True)
class Pool:
    miners: int
    online: int
    avg_latency_ms: float | None


class Probe:
    """One question to one part. One at a time is under way, so a part that hangs holds one thread, not one a caller."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._running: Future[bool] | None = None

    def start(self) -> Future[bool]:
        """Ask, where no earlier question waits for its answer."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = _threads.submit(self._answer)
            return self._running

    def _answer(self) -> bool:
        try:
            return self._ask()
        except Exception:  # whatever it is, the part does not work
            logger.exception("a question of the health check failed")
            return False


def said_yes(question: Future[bool], *, until: float) -> bool:
    """Waits until then (time.monotonic) at most."""
    try:
        return question.result(max(0.0, until - monotonic()))
    except TimeoutError:
        return False


def ask_database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError, PoolTimeout, OSError):
        return False
    finally:
        connection.close()
    return True


def ask_redis() -> bool:
    try:
        return bool(redis.client().ping())
    except (RedisError, OSError):
        return False


def ask_registry() -> bool:
    """Loads it where this process has none yet, which takes seconds with many miners."""
    try:
        runtime.get_registry()
    except (DatabaseError, InterfaceError, PoolTimeout, OSError):
        return False
    finally:
        connection.close()
    return True


class Turns:
    """The log's word on the health of this process: once when it turns, or has another reason, once when it is back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: tuple[str, ...] = ()

    def note(self, *faults: str) -> None:
        with self._lock:
            before, self._faults = self._faults, faults
        if faults and faults != before:
            logger.error("the hub is degraded: %s", ", ".join(faults))
        elif before and not faults:
            logger.warning("the hub is healthy again")


turns = Turns()
database, cache, loading = Probe(ask_database), Probe(ask_redis), Probe(ask_registry)


def health() -> Health:
    until = monotonic() + DEADLINE_S
    # both at once: one that hangs leaves the other its time to answer
    of_database, of_cache = database.start(), cache.start() if settings.REDIS_URL else None
    db = OK if said_yes(of_database, until=until) else DOWN
    redis_state = OFF if of_cache is None else OK if said_yes(of_cache, until=until) else DOWN
    lag_ms = runtime.lag_ms()
    pool = pool_now(database_up=db == OK, until=until)
    faults = {
        "the database does not answer": db == DOWN,
        "Redis does not answer": redis_state == DOWN,
        f"the registry lags over {MAX_LAG_MS} ms": lag_ms > MAX_LAG_MS,
        "the registry is not loaded": pool is None,
    }
    turns.note(*(fault for fault, holds in faults.items() if holds))
    pool = pool or Pool(0, 0, None)
    return Health(
        status="degraded" if any(faults.values()) else "ok",
        online_miners=pool.online,
        miners_online=pool.online,
        avg_latency_ms=None if pool.avg_latency_ms is None else round(pool.avg_latency_ms, 3),
        db=db,
        redis=redis_state,
        registry=RegistryHealth(pool.miners, lag_ms),
        version=VERSION,
        peers=peers_now() if settings.PEER_HUBS else UNSET,
    )


def peers_now() -> dict[str, PeerHealth]:
    met = {peer.name: peer for peer in asking.known()}
    return {name: _of_peer(met.get(name)) for name in settings.PEER_HUBS}


def _of_peer(peer: asking.Peer | None) -> PeerHealth:
    if peer is None or peer.last is None:
        return PeerHealth("idle", 0.0)
    return PeerHealth(OK if peer.last == "ok" else DOWN, round(peer.breaker.rests_s(), 3))


def pool_now(*, database_up: bool, until: float) -> Pool | None:
    """None while there is no registry: it is loaded only where the database can be asked for it."""
    registry = runtime.loaded()
    if registry is None and database_up and said_yes(loading.start(), until=until):
        registry = runtime.loaded()
    if registry is None:
        return None
    now = clock.now()
    states = registry.counts(now=now).values()
    online = sum(each.get(State.ONLINE, 0) + each.get(State.DEGRADED, 0) for each in states)
    return Pool(len(registry), online, registry.mean_latency_ms(now=now))
