from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.conf import settings

from matching.records import records
from matching.reservations import table
from matching.reservations.base import ReservationStore
from matching.reservations.durable import owed
from matching.reservations.memory import MemoryStore
from matching.reservations.runtime import attach_to
from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common.clock import FakeClock
from tests.matching.builders import SECRET
from tests.matching.reservations.stores import redis_store

DEFAULT_WEIGHTS = {"cap": 0.40, "price": 0.20, "latency": 0.20, "trust": 0.15, "load": 0.05}


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    """The settings that these tests speak of."""
    settings.SESSION_TTL_SEC = 60.0
    settings.HEARTBEAT_GRACE_SEC = 120.0
    settings.TRUST_HALF_LIFE_DAYS = 30.0
    settings.SOFT_HOLD_MS = 2000
    settings.JOB_TTL_SEC = 3600.0
    settings.DEFAULT_WEIGHTS = DEFAULT_WEIGHTS
    settings.MATCH_RECORD_SAMPLE = 1.0
    settings.RATELIMIT_MATCH = ""
    settings.COORDINATOR_SHARED_SECRET = (SECRET,)
    settings.COORDINATOR_ALLOWLIST = ()
    settings.TRUSTED_PROXIES = ()


@pytest.fixture
def store() -> Iterator[ReservationStore]:
    """An empty store of the kind that the hub would have here, on the clock of its callers."""
    with ExitStack() as stack:
        yield stack.enter_context(redis_store(server_time=False)) if settings.REDIS_URL else MemoryStore()


@pytest.fixture(autouse=True)
def registry(rules: None, fake_clock: FakeClock, store: ReservationStore) -> Iterator[Registry]:
    """An empty registry without a background thread, on the fake clock, with a ledger that asks no database."""
    made = runtime.new_registry()
    attach_to(made, store)
    runtime.set_registry(made)
    yield made
    runtime.reset()
    records._pending.clear()
    owed._until.clear()
    table._breaker.worked()
