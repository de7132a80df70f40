import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from django.test import TransactionTestCase

from miners.throttle import callers
from poolhub.common import clock
from tests import emptying
from tests.hub import LiveHub, running_hub


def pytest_configure() -> None:
    TransactionTestCase._fixture_teardown = emptying.teardown(TransactionTestCase._fixture_teardown)
    # a shell has what it runs in the background ignore Ctrl-C, and so would every process that tests start and stop
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()  # or the database cannot be dropped
    gc.collect()  # connections of threads that have ended


@pytest.fixture(autouse=True)
def unhurried() -> None:
    """Miners of tests share their names, and a clock that stands still."""
    callers.clear()


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
