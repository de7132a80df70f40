from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, StorageState

from tests.browser.chromium import Operator, chromium, operator, superuser_make
from tests.hub import LiveHub

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def admin_hub(live_hub: LiveHub) -> LiveHub:
    """The hub of all browser tests, with a superuser `root`."""
    superuser_make(live_hub, "root")
    return live_hub


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def session(browser: Browser, admin_hub: LiveHub) -> StorageState:
    """Of `root`: logging in takes a second, so that a module does it once."""
    with operator(browser, admin_hub) as somebody:
        somebody.log_in("root")
        return somebody.page.context.storage_state()


@pytest.fixture
def stranger(browser: Browser, admin_hub: LiveHub) -> Iterator[Operator]:
    with operator(browser, admin_hub) as somebody:
        yield somebody


@pytest.fixture
def root(browser: Browser, admin_hub: LiveHub, session: StorageState) -> Iterator[Operator]:
    with operator(browser, admin_hub, session=session) as somebody:
        yield somebody


@pytest.fixture
def root_with(browser: Browser, admin_hub: LiveHub, session: StorageState) -> Iterator[Callable[..., Operator]]:
    """`root` with a window of some kind: ``root_with(dark=True, narrow=True)``."""
    with ExitStack() as stack:
        yield lambda **kind: stack.enter_context(operator(browser, admin_hub, session=session, **kind))
