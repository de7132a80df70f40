from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.matching.conftest import registry, rules, store  # noqa: F401 - events tell of the pool that matches see
from tests.receivers import Site, serving
from tests.settlement.builders import SECRET


@pytest.fixture
def receiver(settings) -> Iterator[Site]:
    """A receiver that settlement is set up for."""
    with serving() as site:
        settings.SETTLEMENT_URL = site.url("/hook")
        settings.SETTLEMENT_SECRETS = (SECRET,)
        settings.SETTLEMENT_TIMEOUT_SEC = 2.0
        settings.SETTLEMENT_ATTEMPTS = 3
        settings.SETTLEMENT_PARALLEL = 4
        settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
        yield site
