"""The one door to this process's registry, and the one background thread beside it.

`get_registry()` loads the registry from the database on first use and starts the thread; both happen once a process,
whoever comes first. The thread runs every job that was registered with `every()`, one after another; `stop()` runs
them a last time, so that nothing waits unwritten. After a fork the child starts without a registry and loads its own.
"""

import atexit
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from django.conf import settings
from django.db import close_old_connections
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from miners.registry import keeper, loader, sync
from miners.registry.bus import Bus
from miners.registry.records import MinerRow
from miners.registry.store import Registry
from miners.registry.writeback import WriteBehind
from poolhub.common import clock, redis

logger = logging.getLogger(__name__)

DAY_S = 86_400
WRITE_BEHIND_S = 1.0
PATIENCE_S = 5.0  # for a snapshot on its way to Redis or from there

Source = Literal["snapshot", "database"]


@dataclass(slots=True)
class Job:
    seconds: float
    run: Callable[[], object]
    failing: bool = False
    due: float = field(default=0.0)  # time.monotonic


@dataclass(frozen=True, slots=True)
class Opened:
    source: Source
    seconds: float


class Background:
    """One thread for small periodic work. A job that fails is tried again; the first failure of a run is logged."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def every(self, seconds: float, run: Callable[[], object], name: str) -> None:
        with self._lock:
            self._jobs[name] = Job(seconds, run, due=time.monotonic() + seconds)

    def soon(self, name: str) -> None:
        """Have a job run now, instead of when it is due."""
        with self._lock:
            job = self._jobs.get(name)
            if job is not None:
                job.due = 0.0
        self._wake.set()

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stop.clear()
                self._thread = threading.Thread(target=self._work, name="hub-background", daemon=True)
                self._thread.start()

    def stop(self) -> bool:
        """End the thread and wait for it; False where none ran."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return False
        self._stop.set()
        self._wake.set()
        thread.join()
        return True

    def run_all(self) -> None:
        with self._lock:
            jobs = list(self._jobs.items())
        for name, job in jobs:
            self._run(name, job)

    def _work(self) -> None:
        while not self._waits():
            now = time.monotonic()
            with self._lock:
                due = [(name, job) for name, job in self._jobs.items() if job.due <= now]
            for name, job in due:
                job.due = math.inf  # not before it has run, unless `soon` says so meanwhile
                self._run(name, job)
                job.due = min(job.due, time.monotonic() + job.seconds)
            close_old_connections()
        close_old_connections()

    def _waits(self) -> bool:
        """Until something is due; True at the stop."""
        self._wake.wait(self._pause())
        self._wake.clear()
        return self._stop.is_set()

    def _pause(self) -> float:
        with self._lock:
            ahead = min((job.due for job in self._jobs.values()), default=time.monotonic() + WRITE_BEHIND_S)
        return min(max(0.0, ahead - time.monotonic()), WRITE_BEHIND_S)

    def _run(self, name: str, job: Job) -> None:
        with bound_contextvars(task=name):
            self._try(name, job)

    def _try(self, name: str, job: Job) -> None:
        try:
            job.run()
        except Exception:  # the thread outlives whatever a job meets, such as a database that is away
            if not job.failing:
                logger.exception("background job %s failed; it is tried again every %s s", name, job.seconds)
            job.failing = True
        else:
            if job.failing:
                logger.warning("background job %s works again", name)
            job.failing = False


_lock = threading.RLock()
_registry: Registry | None = None
_write_behind: WriteBehind | None = None
_background = Background()
_bus: Bus | None = None
_maker: keeper.Maker | None = None
_opened: Opened | None = None
_attached: dict[str, Callable[[Registry], object]] = {}


def get_registry() -> Registry:
    registry = _registry
    return _open() if registry is None else registry


def loaded() -> Registry | None:
    """The registry if it is there already: for callers that must not wait for the database."""
    return _registry


def new_registry() -> Registry:
    return Registry(
        session_ttl_s=settings.SESSION_TTL_SEC,
        grace_s=settings.HEARTBEAT_GRACE_SEC,
        half_life_s=settings.TRUST_HALF_LIFE_DAYS * DAY_S,
    )


def set_registry(registry: Registry) -> None:
    """Swap the registry, with its write-behind, without a thread and without a bus: for tests."""
    global _registry, _write_behind, _bus
    with _lock:
        _registry, _write_behind, _bus = registry, WriteBehind(registry), None


def reset() -> None:
    """Forget the registry without a flush, as a crash does; the next get_registry() loads anew."""
    global _registry, _write_behind, _bus
    with _lock:
        _background.stop()
        _close_maker()
        if _bus is not None:
            _bus.stop()
        _registry = _write_behind = _bus = None


def every(seconds: float, job: Callable[[], object], name: str) -> None:
    """Have the background thread run a job, and stop() once more. A second job of the same name takes its place."""
    _background.every(seconds, job, name)


def soon(name: str) -> None:
    """Have a job of the background thread run now."""
    _background.soon(name)


def flush() -> None:
    """Write what waits to be written, now and here."""
    write_behind = _write_behind
    if write_behind is not None:
        write_behind.flush()


def stop() -> None:
    """End the background work and write what waits; safe to call twice, and when nothing was started."""
    if _background.stop():
        _background.run_all()
    _close_maker()
    if _bus is not None:
        _bus.stop()


def _close_maker() -> None:
    global _maker
    maker, _maker = _maker, None
    if maker is not None:
        maker.close()


def snapshot_make() -> bool:
    """Make the hub's snapshot, where that is this process's part, and time."""
    global _maker
    if _bus is None:
        return False
    if _maker is None:
        _maker = keeper.Maker(_bus, sync.connect(PATIENCE_S))
    return _maker.make()


def snapshot_age_s(*, now: float) -> float | None:
    """None where there is no snapshot to start from."""
    if not settings.REDIS_URL:
        return None
    with suppress(RedisError, OSError):
        return keeper.age_s(redis.client(), now=now)
    return None


def opened() -> Opened | None:
    """How this process got its registry; None before it has one."""
    return _opened


def lag_ms() -> float:
    """How far this process is behind the others: not at all while it is the only one."""
    return 0.0 if _bus is None else _bus.lag_ms()


def bus() -> Bus | None:
    """This process's end of the bus; None while it is the only process."""
    return _bus


def catch_up() -> None:
    """Apply every event that was published before this call; what Redis does not give within a moment is left."""
    if _bus is not None:
        _bus.catch_up()


def attach(name: str, attach: Callable[[Registry], object]) -> None:
    """Call this with the registry once it is loaded, before the bus applies anything to it."""
    _attached[name] = attach


def row_tell(row: MinerRow, *, now: float, last_seen: float | None) -> None:
    """Take a committed row, here and then everywhere."""
    get_registry().upsert(row, now=now, last_seen=last_seen)
    if _bus is not None:
        _bus.publish(sync.ROW, sync.encode(sync.RowEvent(row, now, last_seen)))


def removal_tell(miner_id: str, pk: int) -> None:
    get_registry().remove(miner_id, pk=pk)
    if _bus is not None:
        _bus.publish(sync.REMOVAL, sync.encode(sync.RemovalEvent(miner_id, pk)))


def socket_tell(miner_id: str, opened_at: float) -> None:
    if _bus is not None:
        _bus.publish(sync.SOCKET, sync.encode(sync.SocketEvent(miner_id, opened_at)))


def _open() -> Registry:
    global _registry, _write_behind, _bus, _opened
    with _lock:
        if _registry is None:
            begun = time.monotonic()
            registry, joined, source = _filled()
            _registry, _write_behind, _bus = registry, WriteBehind(registry), joined
            try:
                for attach_to in _attached.values():
                    attach_to(registry)
            except BaseException:  # the next caller begins anew
                _registry = _write_behind = _bus = None
                raise
            if joined is not None:
                joined.start()
                joined.catch_up()
            _opened = Opened(source, time.monotonic() - begun)
            logger.info("registry loaded from the %s: %d miners in %.2f s", source, len(registry), _opened.seconds)
            every(WRITE_BEHIND_S, flush, "write-behind")
            _background.start()
            atexit.register(stop)
        return _registry


def _filled() -> tuple[Registry, Bus | None, Source]:
    """From the snapshot and what the database has newer; without one all of it from the database."""
    if settings.REDIS_URL:
        registry = new_registry()
        with sync.connect(PATIENCE_S) as client:
            head = keeper.take(registry, client, now=clock.now())
        if head is not None:
            bus = sync.bus_of(registry)
            bus.resume(head)
            sync.recover(registry)
            return registry, bus, "snapshot"
    registry = new_registry()
    joined = sync.bus_of(registry) if settings.REDIS_URL else None
    if joined is not None:
        joined.mark()
    loader.load(registry, now=clock.now())
    return registry, joined, "database"


def _after_fork() -> None:
    global _lock, _registry, _write_behind, _background, _bus, _maker, _opened
    jobs = _background
    _lock, _registry, _write_behind, _background, _bus = threading.RLock(), None, None, Background(), None
    _maker = _opened = None
    for name, job in jobs._jobs.items():
        _background.every(job.seconds, job.run, name)


os.register_at_fork(after_in_child=_after_fork)
