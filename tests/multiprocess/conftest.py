from collections.abc import Iterator

import pytest

from poolhub import devservers
from tests.collector import Collector, running_collector
from tests.multiprocess.cluster import RunningCluster, Worker, both_workers, running_cluster


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with running_collector() as made:
        yield made


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[RunningCluster]:
    """One for all tests that leave it running: use miner ids and regions of your own. It traces everything."""
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TRACE_SAMPLE": "1", "OTEL_BSP_SCHEDULE_DELAY": "500"}
    with running_cluster(tmp_path_factory.mktemp("cluster"), ADMIN_ALLOWLIST="127.0.0.1", **traced) as hub:
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
