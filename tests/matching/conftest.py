from collections.abc import Iterator

import pytest

from matching.records import records
from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common.clock import FakeClock
from tests.matching.builders import SECRET

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


@pytest.fixture(autouse=True)
def registry(rules: None, fake_clock: FakeClock) -> Iterator[Registry]:
    """An empty registry without a background thread, on the fake clock."""
    made = runtime.new_registry()
    runtime.set_registry(made)
    yield made
    runtime.reset()
    records._pending.clear()
