"""The gauges of the contract's section 10, read off the registry and the ledger when they are scraped."""

from heapq import nlargest

from matching.reservations.runtime import get_ledger
from miners.registry import runtime
from miners.registry.records import State
from poolhub.common import clock
from poolhub.common.metrics import MINERS_ONLINE, REGISTRY_LAG, RESERVATIONS_ACTIVE

MAX_REGIONS = 200  # miners name their region freely; a label for each name would grow without bound
OTHER = "other"

_shown: set[str] = set()


def refresh() -> None:
    now = clock.now()
    counts = runtime.get_registry().counts(now=now)
    online = {region: states.get(State.ONLINE, 0) + states.get(State.DEGRADED, 0) for region, states in counts.items()}
    shown = dict(nlargest(MAX_REGIONS, online.items(), key=lambda item: item[1]))
    rest = sum(online.values()) - sum(shown.values())
    if rest:
        shown[OTHER] = shown.get(OTHER, 0) + rest
    for region in _shown - shown.keys():
        MINERS_ONLINE.labels(region=region).set(0)
    for region, number in shown.items():
        MINERS_ONLINE.labels(region=region).set(number)
    _shown.update(shown)
    REGISTRY_LAG.set(runtime.lag_ms())
    RESERVATIONS_ACTIVE.set(len(get_ledger().live(now=now)))
