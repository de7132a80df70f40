from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from poolhub.common import clock
from tests.hub import LiveHub, running_hub


@pytest.fixture
def fake_clock() -> Iterator[clock.FakeClock]:
    with clock.use(clock.FakeClock()) as fake:
        yield fake


@pytest.fixture(scope="session")
def live_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    """One real hub for all tests that only need one: use miner ids and regions of your own."""
    with running_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def start_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LiveHub]]:
    """Hubs of this test's own: ``start_hub(SESSION_TTL_SEC="1")``."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running_hub(tmp_path_factory.mktemp("hub"), **changes))
