from collections.abc import Iterator

import pytest
from django.test import Client

from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common import clock
from tests.miners.builders import ADMIN

START = 1_800_000_000.0


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    """The settings that these tests speak of."""
    settings.SESSION_TTL_SEC = 60.0
    settings.HEARTBEAT_GRACE_SEC = 120.0
    settings.ENROLLMENT = "open"
    settings.RATELIMIT_REGISTER = ""
    settings.ADMIN_SHARED_SECRET = (ADMIN["X-Admin-Secret"],)
    settings.COORDINATOR_SHARED_SECRET = ("coordinator-secret-for-tests",)


@pytest.fixture(autouse=True)
def registry(rules: None) -> Iterator[Registry]:
    """An empty registry without a background thread."""
    made = runtime.new_registry()
    runtime.set_registry(made)
    yield made
    runtime.reset()


@pytest.fixture
def time() -> Iterator[clock.FakeClock]:
    with clock.use(clock.FakeClock(START)) as fake:
        yield fake


@pytest.fixture
def admin() -> Client:
    return Client(headers=ADMIN)
