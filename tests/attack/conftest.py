from collections.abc import Iterator

import pytest

from matching.records import records
from tests.poolhub.conftest import registry as registry  # noqa: PLC0414 - a fixture of that folder, for this one too


@pytest.fixture(autouse=True)
def nothing_left_to_store() -> Iterator[None]:
    """Match records that nobody flushed are not for the tests that come after."""
    yield
    records._pending.clear()
