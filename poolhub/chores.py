"""What one process of a cluster does for all of them, again and again: ``manage.py worker``.

Chores that wait for servers elsewhere have a thread of their own, so that the hub's own never wait with them. A hub of
one process runs those too (``manage.py serve``), without claims.

Promises. A chore runs about once a period, in whichever worker comes first: a claim in Redis, which lasts a period,
says that it is taken. Each chore is safe to run twice all the same, for a worker that stands still outlives its claim.
One that fails is logged once and tried again soon. While Redis is away nothing is claimed and nothing runs; on its
return everything does. A worker that is killed leaves a chore undone for a period at most.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from django.conf import settings
from django.db import close_old_connections
from redis import Redis
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from market.services.feeds import prices_sync
from market.services.medians import market_purge
from matching import records
from matching.reservations.table import reservations_purge
from miners.regions.table import MEASURE_S, round_trips_measure
from miners.registry import runtime, sync
from miners.services.issuers import keys_refresh
from miners.services.manifests import manifests_purge
from poolhub import multiproc
from poolhub.common import clock, redis, tracing
from poolhub.common.metrics import CHORES
from settlement.services.delivery import events_deliver

logger = logging.getLogger(__name__)

LOOK_S = 1.0
RETRY_S = 5.0
SEEN_S = 60  # so long a worker counts as seen
PREFIX = "{poolhub}:worker:"
SEEN = PREFIX + "seen"


@dataclass(frozen=True, slots=True)
class Chore:
    name: str
    period_s: float
    run: Callable[..., object]
    shared: bool = True  # one worker does it for all; else each worker does it: for its own machine, or side by side
    long: bool = False  # takes the event that tells it to stop early


def rows_recover() -> int:
    """Rows whose publication was lost with the process that wrote them."""
    return sync.recover(runtime.get_registry())


ALL = (
    Chore("match-records-purge", 3600, records.purge),
    Chore("reservations-purge", 3600, reservations_purge),
    Chore("regions-measure", MEASURE_S, round_trips_measure),
    Chore("rows-recover", 30, rows_recover),
    Chore("metrics-fold", 60, multiproc.fold_ended, shared=False),
)

OUTSIDE = (
    Chore("issuer-keys", 5, keys_refresh, long=True),
    Chore("manifests-purge", 3600, manifests_purge),
    Chore("settlement", 1, events_deliver, shared=False, long=True),
    Chore("prices-sync", 10, prices_sync, long=True),
    Chore("prices-purge", 3600, market_purge),
)


class Worker:
    def __init__(self, chores: Sequence[Chore], client: Redis | None) -> None:
        """Without a client nothing is claimed: this process is the only one."""
        self._chores = chores
        self._client = client
        self._name = secrets.token_hex(8)
        self._due = {chore.name: 0.0 for chore in chores}  # monotonic: not looked at before
        self._failing: set[str] = set()
        self._away = False

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; a chore under way is finished."""
        while not stop.is_set():
            self.look(stop)
            close_old_connections()
            stop.wait(LOOK_S)

    def look(self, stop: threading.Event) -> None:
        """Run what is due and nobody else has claimed."""
        try:
            if self._client is not None:
                self._client.set(SEEN, clock.now(), ex=SEEN_S)
            for chore in self._chores:
                if not stop.is_set() and self._due[chore.name] <= monotonic() and self._claim(chore):
                    self._run(chore, stop)
        except (RedisError, OSError) as error:
            if not self._away:
                logger.warning("the worker waits for Redis: %s", error)
            self._away = True
        else:
            if self._away:
                logger.warning("Redis answers the worker again")
            self._away = False

    def _claim(self, chore: Chore) -> bool:
        if self._client is None or not chore.shared:
            self._due[chore.name] = monotonic() + chore.period_s
            return True
        return bool(self._client.set(PREFIX + chore.name, self._name, nx=True, px=round(chore.period_s * 1000)))

    def _run(self, chore: Chore, stop: threading.Event) -> None:
        with bound_contextvars(chore=chore.name), tracing.span(f"chore {chore.name}"):
            self._try(chore, stop)

    def _try(self, chore: Chore, stop: threading.Event) -> None:
        try:
            if chore.long:
                chore.run(stop=stop)
            else:
                chore.run()
        except Exception as error:  # the worker outlives whatever a chore meets, such as a database that is away
            tracing.failed(error)
            CHORES.labels(chore=chore.name, outcome="failed").inc()
            if chore.name not in self._failing:
                logger.exception("chore %s failed; it is tried again every %.0f s", chore.name, RETRY_S)
            self._failing.add(chore.name)
            self._due[chore.name] = monotonic() + RETRY_S
            if chore.shared and self._client is not None:
                self._client.pexpire(PREFIX + chore.name, round(RETRY_S * 1000))
        else:
            CHORES.labels(chore=chore.name, outcome="done").inc()
            if chore.name in self._failing:
                logger.warning("chore %s works again", chore.name)
            self._failing.discard(chore.name)


@contextmanager
def outside(stop: threading.Event) -> Iterator[None]:
    """Run the chores that wait for others in a thread beside the block; at its end, what is under way is finished."""
    client = redis.client() if settings.REDIS_URL else None
    thread = threading.Thread(target=Worker(OUTSIDE, client).run, args=(stop,), name="chores-outside")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def worker_seen_at() -> float | None:
    """When a worker of this hub last looked at its chores, epoch seconds; None where none did for a minute."""
    try:
        seen = redis.client().get(SEEN)
    except (RedisError, OSError):
        return None
    return None if seen is None else float(seen)
