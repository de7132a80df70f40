"""The gauges of the contract's section 10, read off the registry and the ledger when they are scraped."""

import os
import threading
from contextlib import suppress
from heapq import nlargest

from matching.reservations.runtime import get_ledger
from miners.registry import runtime
from miners.registry.records import State
from poolhub.common import clock
from poolhub.common.errors import Unavailable
from poolhub.common.metrics import MINERS_ONLINE, REGISTRY_LAG, RESERVATIONS_ACTIVE

MAX_REGIONS = 200  # miners name their region freely; a label for each name would grow without bound
OTHER = "other"
SEVERAL_PROCESSES = "PROMETHEUS_MULTIPROC_DIR" in os.environ  # where a label, once given, cannot be taken back

_lock = threading.Lock()
_labelled: set[str] = set()


def refresh() -> None:
    now = clock.now()
    counts = runtime.get_registry().counts(now=now)
    with _lock:
        show({region: each.get(State.ONLINE, 0) + each.get(State.DEGRADED, 0) for region, each in counts.items()})
    REGISTRY_LAG.set(runtime.lag_ms())
    with suppress(Unavailable):  # the store is away: the last number stands
        RESERVATIONS_ACTIVE.set(len(get_ledger().live(now=now)))


def show(online: dict[str, int]) -> None:
    """Miners by region. A region that empties shows 0, until its label is needed for another."""
    named = _labelled | {OTHER}
    filled = {region: number for region, number in online.items() if number and region not in named}
    if len(_labelled) + len(filled) > MAX_REGIONS and not SEVERAL_PROCESSES:
        for region in [each for each in _labelled if not online.get(each)]:
            _labelled.discard(region)
            MINERS_ONLINE.remove(region)
    _labelled.update(nlargest(MAX_REGIONS - len(_labelled), filled, key=filled.__getitem__))
    for region in _labelled:
        MINERS_ONLINE.labels(region=region).set(online.get(region, 0))
    MINERS_ONLINE.labels(region=OTHER).set(sum(number for region, number in online.items() if region not in _labelled))
