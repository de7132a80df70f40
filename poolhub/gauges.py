"""/v1/metrics: what the processes have counted together, and the gauges of the contract's section 10.

The gauges are read off the registry and the ledger of the process that is scraped, anew for each scrape. Kept in the
processes' shared files, they would go on showing what one process saw last of a region that is gone since.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from heapq import nlargest

from django.conf import settings
from django.db import DatabaseError
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from market.selectors import feeds_standing
from matching.reservations.runtime import get_ledger
from miners.registry import runtime
from miners.registry.records import State
from miners.selectors import issuers_failing
from poolhub import chores, multiproc
from poolhub.common import clock
from poolhub.common.errors import Unavailable
from poolhub.health import OFF, OK, health
from settlement.selectors import outbox

MAX_REGIONS = 200  # miners name their region freely; a label for each name would grow without bound
OTHER = "other"


class PoolGauges(Collector):
    def collect(self) -> Iterable[Metric]:
        found, now = health(), clock.now()
        up = GaugeMetricFamily("poolhub_part_up", "Whether this machine reaches a part: 1 or 0", labels=["part"])
        up.add_metric(["database"], found.db == OK)
        if found.redis != OFF:
            up.add_metric(["redis"], found.redis == OK)
        yield up
        registry = runtime.loaded()
        if registry is None:  # not loaded yet, and what is not known is not told
            return
        counts = registry.counts(now=now)
        online = {region: each.get(State.ONLINE, 0) + each.get(State.DEGRADED, 0) for region, each in counts.items()}
        miners = GaugeMetricFamily("poolhub_miners_online", "Miners online or degraded", labels=["region"])
        for region, number in labelled(online).items():
            miners.add_metric([region], number)
        yield miners
        lag = "Age of the oldest change not yet applied, in ms"
        yield GaugeMetricFamily("poolhub_registry_lag_ms", lag, value=runtime.lag_ms())
        with suppress(Unavailable):  # the store is away: nobody knows
            live = get_ledger().store.count(now=now)
            yield GaugeMetricFamily("poolhub_reservations_active", "Live reservations", value=live)
        opened = runtime.opened()
        if opened is not None:
            took = "Seconds from the start of loading the registry until it could answer, and where from"
            start = GaugeMetricFamily("poolhub_registry_start_seconds", took, labels=["source"])
            start.add_metric([opened.source], opened.seconds)
            yield start
        age_s = runtime.snapshot_age_s(now=now)
        if age_s is not None:
            age = "Seconds since the hub's snapshot was made; missing where there is none"
            yield GaugeMetricFamily("poolhub_snapshot_age_seconds", age, value=age_s)
        yield from outbox_gauges(now)
        yield from feed_gauges(now)
        yield from issuer_gauges()
        seen_at = chores.worker_seen_at() if settings.REDIS_URL else None
        if seen_at is not None:
            age = "Seconds since a worker has last looked at its chores; missing where none has for a minute"
            yield GaugeMetricFamily("poolhub_worker_seen_seconds", age, value=max(0.0, now - seen_at))


def outbox_gauges(now: float) -> Iterable[Metric]:
    with suppress(DatabaseError, PoolTimeout):  # the database is away: nobody knows
        found = outbox()
        oldest = 0.0 if found.oldest_at is None else max(0.0, now - found.oldest_at.timestamp())
        pending = "Settlement events that wait for their delivery"
        yield GaugeMetricFamily("poolhub_settlement_pending", pending, value=found.pending)
        yield GaugeMetricFamily("poolhub_settlement_dead", "Settlement events that were given up", value=found.dead)
        age = "Age of the oldest settlement event that waits"
        yield GaugeMetricFamily("poolhub_settlement_oldest_seconds", age, value=oldest)


def feed_gauges(now: float) -> Iterable[Metric]:
    with suppress(DatabaseError, PoolTimeout):
        found = feeds_standing()
        failing = "Price feeds that fail: their last prices stand"
        yield GaugeMetricFamily("poolhub_market_feeds_failing", failing, value=found.failing)
        oldest = 0.0 if found.oldest_at is None else max(0.0, now - found.oldest_at.timestamp())
        age = "Seconds since the price feed that answered longest ago did"
        yield GaugeMetricFamily("poolhub_market_oldest_seconds", age, value=oldest)


def issuer_gauges() -> Iterable[Metric]:
    with suppress(DatabaseError, PoolTimeout):
        failing = "Issuers of manifests whose keys could not be fetched at the last try"
        yield GaugeMetricFamily("poolhub_issuers_failing", failing, value=issuers_failing())


def labelled(online: Mapping[str, int]) -> dict[str, int]:
    """Miners by region: the MAX_REGIONS largest by name, the others added up."""
    shown = dict(nlargest(MAX_REGIONS, online.items(), key=lambda item: item[1]))
    shown[OTHER] = shown.get(OTHER, 0) + sum(online.values()) - sum(shown.values())
    return shown


def exposition() -> bytes:
    gauges = CollectorRegistry()
    gauges.register(PoolGauges())
    return _counted() + generate_latest(gauges)


def _counted() -> bytes:
    where = multiproc.folder()
    if where is None:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together, str(where))  # type: ignore[no-untyped-call]
    with multiproc.locked(where, alone=False):
        return generate_latest(together)
