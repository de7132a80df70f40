from collections.abc import Iterator

import httpx
import pytest

from miners.registry import runtime
from miners.registry.store import Registry
from tests.hub import LiveHub


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty registry without a background thread."""
    made = runtime.new_registry()
    runtime.set_registry(made)
    yield made
    runtime.reset()


@pytest.fixture
def http(live_hub: LiveHub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_hub.base, timeout=20) as client:
        yield client
