"""RATELIMIT_WRONG_KEY: who guesses at keys waits, and nobody else. Windows are of a day, so that none ends in a test."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from miners import guesses
from miners.models import Miner
from miners.services.operators import miner_create
from tests.miners.builders import body, key_of, post, register, view

pytestmark = pytest.mark.django_db

REGISTER, HEARTBEAT = "/v1/miners/register", "/v1/miners/heartbeat"
WRONG = "wrong-key-0123456789"


@pytest.fixture(autouse=True)
def two_a_day(settings) -> Iterator[None]:
    settings.RATELIMIT_REGISTER, settings.RATELIMIT_WRONG_KEY = "9999/s", "2/d"
    cache.clear()
    guesses.forget()
    yield
    cache.clear()
    guesses.forget()


def at(address: str, **headers: str) -> Client:
    return Client(REMOTE_ADDR=address, headers=headers)


def guess(address: str = "192.0.2.1", miner_id: str = "m1", key: str = WRONG, **headers: str) -> Any:
    return post(at(address, **headers), REGISTER, body(miner_id, api_key=key))


def statuses(*addresses: str, **said: str) -> list[int]:
    return [guess(address, **said).status_code for address in addresses]


def test_after_so_many_wrong_keys_the_address_waits_whatever_it_sends_then() -> None:
    register()
    before = Miner.objects.values().get()
    assert statuses(*["192.0.2.1"] * 4) == [401, 401, 429, 429]
    reply = guess(key=key_of("m1"))  # even the right one, or guessing would go on
    assert (reply.status_code, reply.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(reply.headers["Retry-After"]) <= 86_401
    assert Miner.objects.values().get() == before


def test_a_refused_guess_does_not_look_at_the_database(django_assert_num_queries) -> None:
    register()
    statuses(*["192.0.2.1"] * 3)
    with django_assert_num_queries(0):
        assert guess().status_code == 429


def test_another_address_and_another_miner_are_not_kept_out() -> None:
    register("m1")
    register("m2")
    statuses(*["192.0.2.1"] * 3)
    assert guess("192.0.2.2", key=key_of("m1")).status_code == 200
    assert guess("192.0.2.1", "m2", key=key_of("m2")).status_code == 200


def test_an_address_that_tries_many_ids_waits_for_all_of_them(settings) -> None:
    settings.ENROLLMENT = "closed"
    _, key = miner_create(miner_id="m0")
    tried = [guess(miner_id=f"x{number}").status_code for number in range(21)]
    assert tried == [401] * 20 + [429]
    assert guess(miner_id="m0", key=key).status_code == 429
    assert guess("192.0.2.2", miner_id="m0", key=key).status_code == 200


def test_of_a_miner_that_many_addresses_guess_at_each_of_them_has_one_guess_and_its_own_address_none_fewer() -> None:
    register("m1")
    found = statuses(*(f"192.0.2.{number}" for number in range(1, 22)))
    assert found == [401] * 20 + [429]
    assert statuses("198.51.100.1", "198.51.100.1") == [429, 429]  # the first was looked at, and counted
    assert guess("198.51.100.2", key=key_of("m1")).status_code == 200


def test_an_id_that_looks_like_an_address_counts_for_no_address() -> None:
    for number in range(21):
        guess(f"192.0.2.{number}", "203.0.113.7", key=f"{WRONG}{number}")
    register("m1")
    assert guess("203.0.113.7", "m1", key=key_of("m1")).status_code == 200


@pytest.mark.parametrize("forged", ["203.0.113.{}", "192.0.2.1, 203.0.113.{}"])
def test_a_forged_header_makes_no_new_caller(forged) -> None:
    register()
    found = [guess(**{"X-Forwarded-For": forged.format(number)}).status_code for number in range(4)]
    assert found == [401, 401, 429, 429]


def test_behind_a_trusted_proxy_each_client_is_counted_by_what_the_proxy_saw(settings) -> None:
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = (ip_network("192.0.2.1/32"),)
    register()
    seen = [guess(**{"X-Forwarded-For": f"spoof-{number}, 203.0.113.7"}).status_code for number in range(3)]
    assert seen == [401, 401, 429]
    assert guess(key=key_of("m1"), **{"X-Forwarded-For": "203.0.113.7, 203.0.113.8"}).status_code == 200


def beat(key: str, address: str = "192.0.2.1", **said: Any) -> int:
    return int(post(at(address), HEARTBEAT, {"queue_len": 0, **said}, token=key).status_code)


def test_heartbeats_with_a_key_are_counted_too_those_with_a_body_that_cannot_be_read_as_well() -> None:
    register("m1")
    assert [beat(WRONG) for _ in range(10)] == [401] * 10
    assert [beat(WRONG, queue_len="x") for _ in range(11)] == [401] * 10 + [429]
    assert beat(key_of("m1"), queue_len="x") == 429  # or it would tell that the key is right
    assert beat(key_of("m1")) == 429
    assert [beat(WRONG, "192.0.2.2", miner_id="m1") for _ in range(3)] == [401, 401, 429]


def test_a_key_that_a_heartbeat_has_shown_before_is_let_in_whatever_its_neighbours_do() -> None:
    register("m1")
    assert beat(key_of("m1"), queue_len=1) == 200
    statuses(*["192.0.2.1"] * 3)
    [beat(WRONG) for _ in range(20)]
    assert beat(WRONG) == 429
    assert beat(key_of("m1"), queue_len=7) == 200
    assert view().live.queue_len == 7


@pytest.mark.parametrize("limit", ["RATELIMIT_WRONG_KEY", "RATELIMIT_REGISTER"])
def test_without_a_rate_nobody_waits(settings, limit) -> None:
    setattr(settings, limit, "")
    register()
    assert statuses(*["192.0.2.1"] * 30) == [401] * 30


def test_the_memory_of_who_waits_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(guesses, "MAX_WAITING", 5)
    for number in range(10):
        guesses._have_wait((f"192.0.2.{number}", ""), 60)
    assert len(guesses._waiting) == 5
