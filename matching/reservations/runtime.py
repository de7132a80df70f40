"""The one door to this process's ledger. It belongs to the registry it counts in, and goes with it."""

from django.conf import settings

from matching.reservations.ledger import Ledger
from matching.reservations.memory import MemoryStore
from miners.registry.runtime import get_registry


def get_ledger() -> Ledger:
    registry = get_registry()
    held = registry.ledger
    if isinstance(held, Ledger):
        return held
    with registry.lock:
        if not isinstance(registry.ledger, Ledger):
            registry.ledger = Ledger(registry, MemoryStore(), job_ttl_s=settings.JOB_TTL_SEC)
        return registry.ledger
