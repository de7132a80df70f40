"""What miners measure of other regions (`probes` of a heartbeat), on its way into the database.

A probe is a sample, not a promise: of a miner one report in EVERY_S is taken, and where more come than are written,
the rest are left out. Nothing of it waits for the database.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from miners.models import RegionProbe
from miners.registry import views
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from miners.registry.terms import Kind
from poolhub.common import clock

FLUSH_S = 5.0
EVERY_S = 600.0
MAX_WAITING = 2000  # miners
MAX_SEEN = 200_000


@dataclass(frozen=True, slots=True)
class Probed:
    region: str  # the miner's own
    ms: dict[str, float]  # by region
    at: float  # epoch seconds


class Probes:
    """What the miners of this process have measured and is not stored yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Probed] = {}
        self._seen: dict[str, float] = {}  # when a miner's was last taken

    def take(self, miner_id: str, ms: Mapping[str, float] | None, *, now: float) -> None:
        """Regions that no miner is in are passed over, and so is the miner's own."""
        if not ms or now < self._seen.get(miner_id, -EVERY_S) + EVERY_S or len(self._waiting) >= MAX_WAITING:
            return
        registry = get_registry()
        with registry.lock:
            slot = registry.slots.get(miner_id)
            if slot is None:
                return
            region = views.place_of(registry, slot)[0]
            known = (
                {}
                if not region
                else {name: each for name, each in ms.items() if name != region and _is_known(registry, name)}
            )
        with self._lock:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen[miner_id] = now
            if known:
                self._waiting[miner_id] = Probed(region, known, now)

    def flush(self) -> int:
        """Store what waits; how many miners. What fails waits for the next time."""
        with self._lock:
            taken = dict(self._waiting)
        if not taken:
            return 0
        rows = [
            RegionProbe(miner_id=miner_id, region=each.region, other=other, rtt_ms=ms, at=clock.to_datetime(each.at))
            for miner_id, each in taken.items()
            for other, ms in each.ms.items()
        ]
        with transaction.atomic():
            RegionProbe.objects.bulk_create(
                rows, batch_size=500, update_conflicts=True, unique_fields=["miner_id", "other"],
                update_fields=["region", "rtt_ms", "at"],
            )  # fmt: skip
        with self._lock:
            for miner_id, each in taken.items():
                if self._waiting.get(miner_id) is each:
                    del self._waiting[miner_id]
        return len(taken)


def _is_known(registry: Registry, region: str) -> bool:
    return registry.terms.code(Kind.REGION, region) is not None


probes = Probes()
