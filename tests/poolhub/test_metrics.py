"""GET /v1/metrics."""

import json
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from matching.reservations.runtime import get_ledger
from poolhub import gauges
from poolhub.common import clock
from tests.hub import LiveHub
from tests.miners.registry.builders import row

pytestmark = pytest.mark.django_db(transaction=True)  # the ledger reads open reservations at its start

URL = "/v1/metrics"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


class Traffic:
    """A miner in a region of its own, a coordinator, and what the metrics say since then."""

    def __init__(self, hub: LiveHub, http: httpx.Client) -> None:
        self.hub, self.http = hub, http
        self.before = self.now()

    def now(self) -> Samples:
        return samples(self.http.get(URL).text)

    def post(self, path: str, body: Any, status: int, **headers: str) -> Any:
        reply = self.http.post(path, json=body, headers=headers)
        assert reply.status_code == status, reply.text
        return reply.json()

    def added(self, name: str, **labels: str) -> float:
        return value(self.now(), name, **labels) - value(self.before, name, **labels)


@pytest.fixture
def traffic(live_hub: LiveHub, http: httpx.Client) -> Traffic:
    return Traffic(live_hub, http)


def test_traffic_is_counted_under_the_contract_s_names(traffic) -> None:
    coordinator = traffic.hub.coordinator
    miner = {"miner_id": "metrics-1", "api_key": "metrics-key-0123456789", "addr": "h:1", "region": "metrics-region"}
    token = traffic.post("/v1/miners/register", {**miner, "max_parallel": 4}, 201)["session_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    traffic.post("/v1/miners/heartbeat", {"queue_len": 0}, 200, **bearer)
    with connect(f"{traffic.hub.ws_base}/v1/miners/heartbeat", additional_headers=bearer) as socket:
        socket.recv(timeout=10)
        for _ in range(3):
            socket.send(json.dumps({"ts": clock.to_rfc3339(clock.now()), "queue_len": 0, "ack": True}))
            assert json.loads(socket.recv(timeout=10))["type"] == "ack"
    here = {"job_id": "metrics-job", "hints": {"region": "metrics-region"}}
    reserved = traffic.post("/v1/match", {**here, "reserve": True}, 200, **coordinator)["reservation"]
    traffic.post("/v1/match", {**here, "requirements": {"min_vram_gb": 9}, "dry_run": True}, 200, **coordinator)
    during = traffic.now()
    assert value(during, "poolhub_miners_online", region="metrics-region") == 1
    assert value(during, "poolhub_reservations_active") >= 1
    assert ("poolhub_registry_lag_ms", ()) in during
    assert value(during, "poolhub_registry_start_seconds", source="database") > 0
    for outcome in ("accepted", "completed"):
        told = {"job_id": "metrics-job", "miner_id": "metrics-1", "outcome": outcome}
        traffic.post("/v1/feedback", told, 201, **coordinator)
        traffic.post("/v1/feedback", told, 200, **coordinator)
    assert traffic.added("poolhub_heartbeats_total", transport="http") == 1
    assert traffic.added("poolhub_heartbeats_total", transport="ws") == 3
    assert traffic.added("poolhub_match_requests_total", outcome="matched") == 1
    assert traffic.added("poolhub_match_requests_total", outcome="empty") == 1
    assert traffic.added("poolhub_match_rejections_total", constraint="min_vram_gb") >= 1
    assert traffic.added("poolhub_match_latency_ms_count") == 2
    assert traffic.added("poolhub_match_latency_ms_bucket", le="+Inf") == 2
    assert traffic.added("poolhub_match_latency_ms_sum") > 0
    assert traffic.added("poolhub_feedback_total", outcome="accepted") == 1
    assert traffic.added("poolhub_feedback_total", outcome="completed") == 1
    assert reserved["miner_id"] == "metrics-1"
    assert any(name.startswith("django_http_responses_total_by_status") for name, _ in traffic.now())
    assert traffic.http.post("/v1/miners/logout", headers=bearer).status_code == 204
    assert value(traffic.now(), "poolhub_miners_online", region="metrics-region") == 0


@pytest.mark.pure
def test_it_is_open_on_loopback_alone(registry, client) -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert client.get(URL, REMOTE_ADDR=address).status_code == 200
    for address in ("10.0.0.1", "192.0.2.7", "2001:db8::1", ""):
        reply = client.get(URL, REMOTE_ADDR=address)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == 'X-Admin-Secret realm="pool-hub"'


@pytest.mark.pure
@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",), ("10.0.0.0/8",)])
def test_what_a_proxy_forwards_needs_the_secret(registry, client, settings, header, proxies) -> None:
    settings.TRUSTED_PROXIES = tuple(map(ip_network, proxies))
    settings.ADMIN_SHARED_SECRET = ("metrics-secret-000001",)
    for named in ("192.0.2.7", "127.0.0.1", "unknown", "for=127.0.0.1", ""):
        assert client.get(URL, headers={header: named}).status_code == 401
        wrong = {header: named, "X-Admin-Secret": "metrics-secret-000002"}
        assert client.get(URL, headers=wrong).status_code == 401
        assert client.get(URL, headers={**wrong, "X-Admin-Secret": "metrics-secret-000001"}).status_code == 200


@pytest.mark.pure
def test_without_a_secret_configured_it_is_not_open_to_others(registry, client, settings) -> None:
    settings.ADMIN_SHARED_SECRET = ()
    assert client.get(URL, REMOTE_ADDR="10.0.0.1").json()["code"] == "not_configured"


def shown(name: str) -> dict[str, float]:
    """The samples of a gauge, by region where it has one."""
    families = text_string_to_metric_families(gauges.exposition().decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels.get("region", "-"): sample.value for sample in found}


@pytest.mark.pure
def test_only_so_many_regions_have_a_label_and_the_rest_is_added_up() -> None:
    found = gauges.labelled({f"r{number}": number + 1 for number in range(250)})
    assert len(found) == 201
    assert found["r249"] == 250
    assert "r49" not in found
    assert found["other"] == sum(range(1, 51))  # the 50 smallest: 1 + 2 + … + 50


@pytest.mark.pure
def test_a_region_named_other_is_among_the_others() -> None:
    assert gauges.labelled({"other": 5, "eu": 1}) == {"other": 5, "eu": 1}
    assert gauges.labelled({}) == {"other": 0}


@pytest.mark.pure
def test_degraded_miners_count_as_online_and_offline_ones_do_not(registry, fake_clock) -> None:
    for name in ("offline", "degraded", "online"):  # 122, 61 and 0 s ago
        registry.upsert(row(name, region="eu"), now=clock.now(), last_seen=clock.now())
        fake_clock.advance(0 if name == "online" else 61)
    assert shown("poolhub_miners_online") == {"eu": 2, "other": 0}
    fake_clock.advance(122)
    assert shown("poolhub_miners_online") == {"eu": 0, "other": 0}


@pytest.mark.pure
def test_live_reservations_are_counted(registry, fake_clock) -> None:
    registry.upsert(row("a", max_parallel=2), now=clock.now(), last_seen=clock.now())
    assert get_ledger().reserve("job", ["a"], ttl_ms=1000, now=clock.now())
    assert shown("poolhub_reservations_active") == {"-": 1}
    fake_clock.advance(1.5)
    assert shown("poolhub_reservations_active") == {"-": 0}


@pytest.mark.pure
def test_one_process_has_no_worker(registry, settings) -> None:
    settings.REDIS_URL = ""
    assert shown("poolhub_registry_lag_ms") == {"-": 0}
    assert shown("poolhub_worker_seen_seconds") == {}
