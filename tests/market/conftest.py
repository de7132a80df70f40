from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from market import runtime
from market.models import PriceUnit
from market.selectors import pages
from market.services.operators import unit_save
from miners.registry.store import Registry
from tests.market.builders import UNITS
from tests.matching.conftest import registry, rules, store  # noqa: F401 - the market is for the pool that matches see
from tests.receivers import Site, serving


@pytest.fixture
def market(transactional_db, registry: Registry, settings, tmp_path) -> Iterator[None]:  # noqa: F811
    """An empty market with a few units, and feeds allowed on loopback and in a folder."""
    settings.OUTBOUND_ALLOW = (ip_network("127.0.0.1"),)
    settings.MARKET_FEED_DIR = str(tmp_path)
    runtime.reset()
    pages._version = -1
    PriceUnit.objects.all().delete()  # those of the migration, where nobody has flushed them yet
    for name, (tokens, seconds) in UNITS.items():
        unit_save(name=name, tokens=tokens, seconds=seconds)
    runtime.attach(registry)
    yield
    runtime.reset()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made
