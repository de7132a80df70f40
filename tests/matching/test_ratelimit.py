"""RATELIMIT_MATCH on the routes of a match. Windows are of a day, so that none ends during a test."""

from ipaddress import ip_network

import pytest
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.test import Client

from poolhub.common import ratelimit
from poolhub.common.metrics import RATELIMIT_UNCHECKED
from tests.matching.builders import COORDINATOR

DEAD_REDIS = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",  # nobody listens there
    }
}


class Forgetful(LocMemCache):
    """Evicts a counter between the step that finds it and the step that raises it."""

    def add(self, *args, **kwargs) -> bool:
        return False

    def incr(self, *args, **kwargs) -> int:
        raise ValueError("no such key")


@pytest.fixture(autouse=True)
def three_a_day(settings, registry) -> None:
    settings.RATELIMIT_MATCH = "3/d"
    cache.clear()


def ask(address: str = "192.0.2.1", path: str = "/v1/match", headers=COORDINATOR, **more: str):
    return Client(REMOTE_ADDR=address).post(
        path, {"job_id": "j"}, content_type="application/json", headers={**headers, **more}
    )


def statuses(*addresses: str, **more: str) -> list[int]:
    return [ask(address, **more).status_code for address in addresses]


def unchecked() -> float:
    return RATELIMIT_UNCHECKED.labels(group="match")._value.get()


def test_over_the_rate_it_is_429_and_says_when_to_come_back() -> None:
    assert statuses(*["192.0.2.1"] * 4) == [200, 200, 200, 429]
    reply = ask()
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert (reply.json()["status"], reply.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(reply.headers["Retry-After"]) <= 86_400


def test_each_address_is_counted_for_itself() -> None:
    assert statuses(*["192.0.2.1"] * 4, "192.0.2.2") == [200, 200, 200, 429, 200]


def test_ipv6_callers_are_counted_by_their_64() -> None:
    same, other = [f"2001:db8:0:1::{i:x}" for i in range(4)], "2001:db8:0:2::1"
    assert statuses(*same, other) == [200, 200, 200, 429, 200]


def test_an_ipv4_address_is_one_in_either_form() -> None:
    assert statuses("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1") == [200, 200, 200, 429]


def test_a_forged_header_makes_no_new_caller() -> None:
    forged = [ask(**{"X-Forwarded-For": f"203.0.113.{i}"}).status_code for i in range(4)]
    assert forged == [200, 200, 200, 429]


def test_behind_a_trusted_proxy_each_client_is_counted(settings) -> None:
    settings.TRUSTED_PROXIES = (ip_network("192.0.2.0/24"),)
    found = [ask(**{"X-Forwarded-For": f"spoof, 203.0.113.{i % 2}"}).status_code for i in range(7)]
    assert found == [200] * 6 + [429]


def test_all_routes_of_a_match_count_together_and_others_do_not() -> None:
    found = [ask(path=f"/v1/match{suffix}").status_code for suffix in ("", "/batch", "/why-not", "")]
    assert found == [200, 422, 422, 429]
    assert Client(REMOTE_ADDR="192.0.2.1").get("/v1/reservations", headers=COORDINATOR).status_code == 200


def test_a_caller_without_the_secret_uses_nothing_up() -> None:
    assert [ask(headers={}).status_code for _ in range(4)] == [401] * 4
    assert ask().status_code == 200


@pytest.mark.parametrize("off", [{"RATELIMIT_MATCH": ""}, {"RATELIMIT_ENABLE": False}])
def test_without_a_rate_there_is_no_limit(settings, off) -> None:
    for name, value in off.items():
        setattr(settings, name, value)
    assert statuses(*["192.0.2.1"] * 5) == [200] * 5


def test_a_cache_that_fails_lets_through_and_is_counted_and_told_once(settings, caplog) -> None:
    before, alive = unchecked(), settings.CACHES
    settings.CACHES = DEAD_REDIS
    assert statuses(*["192.0.2.1"] * 5) == [200] * 5
    assert unchecked() - before == 5
    settings.CACHES = alive
    assert statuses(*["192.0.2.1"] * 4) == [200, 200, 200, 429]
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.name == ratelimit.__name__] == [
        "The rate limit of match is off while the cache fails", "The rate limit of match is on again",
    ]  # fmt: skip


def test_a_cache_that_forgets_between_two_steps_lets_through(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.matching.test_ratelimit.Forgetful"}}
    before = unchecked()
    assert statuses(*["192.0.2.1"] * 5) == [200] * 5
    assert unchecked() - before == 5
