"""The market of this process: loaded from the database, handed to the registry, kept in step with other processes.

Promises: a change that was committed here is in the next match here; in other processes within a second where there is
a bus, and within LOOK_S in any case, since each compares its version with the database's.
"""

import threading
import time
from dataclasses import dataclass

from django.db import transaction

from market.models import GpuAlias, MarketMedian, MarketVersion
from market.table import NO_MARKET, MarketTable
from miners.registry import runtime
from miners.registry.market import MarketEntry
from miners.registry.store import Registry
from poolhub.common.fields import price_units

CHANGED = "market"  # the kind of the event on the bus
BEAT_S, LOOK_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Held:
    table: MarketTable
    medians: tuple[MarketMedian, ...]  # as the public route shows them


NOTHING = Held(NO_MARKET, ())

_lock = threading.Lock()
_held = NOTHING
_told = threading.Event()
_looked_at = 0.0  # time.monotonic


def get_market() -> Held:
    """As this process has it; the registry is there first."""
    runtime.get_registry()
    return _held


def attach(registry: Registry) -> None:
    """Give a registry its market, once it is loaded."""
    _load(registry)
    bus = runtime.bus()
    if bus is not None:
        bus.on(CHANGED, lambda payload: _told.set())
    runtime.every(BEAT_S, look, "market")


def look() -> bool:
    """Take the market anew where it has changed; whether it had."""
    global _looked_at
    now = time.monotonic()
    if not _told.is_set() and now - _looked_at < LOOK_S:
        return False
    _told.clear()
    _looked_at = now
    registry = runtime.loaded()
    if registry is None or _version() == _held.table.version:
        return False
    _load(registry)
    return True


def tell() -> None:
    """After a change was committed: here at once, then everywhere."""
    registry = runtime.loaded()
    if registry is not None:
        _load(registry)
    bus = runtime.bus()
    if bus is not None:
        bus.publish(CHANGED, b"")


def reset() -> None:
    """Forget the market: for tests."""
    global _held, _looked_at
    _held, _looked_at = NOTHING, 0.0
    _told.clear()


def _load(registry: Registry) -> None:
    """Read at one version, whoever changes it meanwhile: a newer one is told of again."""
    global _held
    with _lock:
        with transaction.atomic():
            version = _version()
            medians = tuple(MarketMedian.objects.all())
            aliases = dict(GpuAlias.objects.values_list("name", "model"))
        entries = [
            MarketEntry(each.model, each.region, price_units(each.median), tuple(each.quantiles)) for each in medians
        ]
        table = MarketTable(version, entries, aliases)
        _held = Held(table, medians)
        registry.set_market(table.find)


def _version() -> int:
    return MarketVersion.objects.values_list("version", flat=True).first() or 0
