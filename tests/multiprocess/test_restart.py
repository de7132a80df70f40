"""A hub that is killed: what it answered holds in the next one, on every storage."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.hub import LiveHub, fresh_database, fresh_redis


@pytest.fixture
def begin(start_hub) -> Iterator[Callable[[], LiveHub]]:
    """One hub after another on the same storage."""
    with fresh_database(migrated=True) as dsn:
        pepper = secrets.token_urlsafe(32)
        where = {"DB_DSN": dsn, "REDIS_URL": fresh_redis(), "API_KEY_PEPPER": pepper, "SOFT_HOLD_MS": "0"}
        begun: list[LiveHub] = []

        def one_more() -> LiveHub:
            begun.append(start_hub(**where))
            return begun[-1]

        yield one_more
        for hub in begun:
            hub.stop()


def register(hub: LiveHub, miner_id: str) -> None:
    body = {"miner_id": miner_id, "api_key": "key-of-the-miner-0123456789", "addr": "h:1"}
    assert httpx.post(f"{hub.base}/v1/miners/register", json=body, timeout=10).is_success


def reserve(hub: LiveHub, job_id: str) -> Any:
    body = {"job_id": job_id, "reserve": True, "reservation_ttl_ms": 600_000}
    reply = httpx.post(f"{hub.base}/v1/match", json=body, headers=hub.coordinator, timeout=10)
    assert reply.status_code == 200, reply.text
    return reply.json().get("reservation")


def release(hub: LiveHub, reservation: Any) -> None:
    reply = httpx.delete(f"{hub.base}/v1/reservations/{reservation['id']}", headers=hub.coordinator, timeout=10)
    assert reply.status_code == 204


@pytest.mark.parametrize("redis_too", [False, True], ids=["the hub alone", "with its Redis"])
def test_what_a_killed_hub_answered_holds_in_the_next(begin, redis_too) -> None:
    hub = begin()
    for miner_id in ("m1", "m2"):
        register(hub, miner_id)
    first, second = reserve(hub, "j1"), reserve(hub, "j2")
    release(hub, second)
    hub.process.kill()
    hub.process.wait()
    if redis_too and hub.env["REDIS_URL"]:
        with Redis.from_url(hub.env["REDIS_URL"]) as client:
            client.flushdb()
    hub = begin()
    for miner_id in ("m1", "m2"):
        register(hub, miner_id)  # what it wrote last of their contact may be lost
    assert reserve(hub, "j1") == first
    assert reserve(hub, "j3")["miner_id"] == second["miner_id"]
    assert reserve(hub, "j4") is None
