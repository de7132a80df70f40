from collections.abc import Iterator

import pytest

from poolhub import devservers
from tests.multiprocess.cluster import RunningCluster, Worker, both_workers, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One for all tests that leave it running: use miner ids and regions of your own."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), ADMIN_ALLOWLIST="127.0.0.1") as hub:
        yield hub


@pytest.fixture
def workers(cluster: RunningCluster) -> Iterator[tuple[Worker, Worker]]:
    with both_workers(cluster) as both:
        yield both


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """DB_DSN and REDIS_URL of servers that outlive a cluster, for the tests of one module."""
    with devservers.beside("postgres", "valkey") as found:
        yield {"DB_DSN": found["postgres"], "REDIS_URL": found["valkey"]}
