from collections.abc import Iterator

import httpx
import pytest

from matching.reservations.memory import MemoryStore
from matching.reservations.runtime import attach_to
from miners.registry import runtime
from miners.registry.store import Registry
from tests.hub import LiveHub


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty registry without a background thread, with reservations in memory."""
    made = runtime.new_registry()
    attach_to(made, MemoryStore())
    runtime.set_registry(made)
    yield made
    runtime.reset()


@pytest.fixture
def http(live_hub: LiveHub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_hub.base, timeout=20) as client:
        yield client
