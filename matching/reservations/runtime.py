"""The one door to this process's ledger. It belongs to the registry it counts in, and goes with it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from django.conf import settings

from matching.reservations import sharing
from matching.reservations.base import Reservation, ReservationStore, once_filled
from matching.reservations.holds import Happening, Offered
from matching.reservations.ledger import Ledger
from matching.reservations.memory import MemoryStore
from matching.reservations.redis import RedisStore
from matching.reservations.sharing import Claim
from matching.reservations.table import reservations_open, reservations_purge
from miners.registry import runtime
from miners.registry.bus import EVENTS, Bus, StreamId
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from poolhub.common import clock, redis
from poolhub.common.errors import Unavailable

FREE_S, PURGE_S = 1.0, 3600.0


def get_ledger() -> Ledger:
    registry = get_registry()
    held = registry.ledger
    return held if isinstance(held, Ledger) else attach(registry)


def attach(registry: Registry) -> Ledger:
    """The registry's ledger, made where there is none. Other processes' events are applied to it from then on."""
    runtime.every(PURGE_S, reservations_purge, "reservations-purge")
    return attach_to(registry, _store(), bus=runtime.bus())


def claims_lost(claims: Sequence[Claim], *, since: StreamId | None) -> list[Claim]:
    """Tell other processes of these holds; those for whose slot another process was quicker, counted as far as the
    hub is one. Its only process, or one without Redis, is alone: none.

    since: `position()` before the ranking.
    """
    bus = runtime.bus()
    if bus is None or since is None or not claims:
        return []
    return sharing.outrun(get_ledger(), get_registry(), claims, bus.meanwhile(since))


def position() -> StreamId | None:
    """Up to where this process has applied what others did."""
    bus = runtime.bus()
    return None if bus is None else bus.position()


def attach_to(registry: Registry, store: ReservationStore, *, bus: Bus | None = None) -> Ledger:
    """With a ledger that counts what the store holds; nothing while the store is away, and then what it meets.

    Database and Redis are waited for without the registry's lock.
    """
    now = clock.now()
    live: list[Reservation] = []
    with suppress(Unavailable):
        live = once_filled(lambda: store.live(now=now))
    with registry.lock:
        if not isinstance(registry.ledger, Ledger):
            tell = None if bus is None else _tell(bus)
            registry.ledger = ledger = Ledger(registry, store, job_ttl_s=settings.JOB_TTL_SEC, tell=tell)
            for each in live:
                ledger.count(each, now=now)
            if bus is not None:
                sharing.join(ledger, bus)
        return registry.ledger


def _tell(bus: Bus) -> Callable[[str, Sequence[Happening]], None]:
    def tell(job_id: str, happened: Sequence[Happening]) -> None:
        claimed = any(isinstance(each, Offered) for each in happened)  # told at once by `claims_lost`
        bus.publish(sharing.JOB, sharing.job_payload(job_id, happened), wake=not claimed)

    return tell


def _store() -> ReservationStore:
    if not settings.REDIS_URL:
        return MemoryStore(reservations_open())
    store = RedisStore(redis.client(), copy=reservations_open, events=EVENTS)
    runtime.every(FREE_S, partial(_free, store), "reservations-free")
    return store


def _free(store: RedisStore) -> None:
    """Also the first to notice a Redis that lost its data, where nobody reserves."""
    with suppress(Unavailable):  # the store has said so
        once_filled(store.purge)
