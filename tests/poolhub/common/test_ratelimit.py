"""The limiter itself; tests/matching/test_ratelimit.py has it on a route."""

import time

import pytest
from django.core.cache import cache
from django.test import RequestFactory

from poolhub.common import ratelimit
from poolhub.common.errors import TooManyRequests


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.TRUSTED_PROXIES = ()
    cache.clear()


def ask(rate: str = "2/d", group: str = "g", address: str = "192.0.2.1", method: str = "post") -> bool:
    """Whether it is let through."""
    request = getattr(RequestFactory(), method)("/", REMOTE_ADDR=address)
    try:
        ratelimit.check(request, group=group, rate=rate)
    except TooManyRequests:
        return False
    return True


def test_so_many_pass_and_no_more() -> None:
    assert [ask() for _ in range(4)] == [True, True, False, False]


def test_groups_and_rates_and_addresses_are_counted_apart() -> None:
    assert [ask(), ask(), ask()] == [True, True, False]
    assert [ask(group="h"), ask(rate="2/h"), ask(address="192.0.2.2")] == [True, True, True]


def test_every_method_counts() -> None:
    assert [ask(method=name) for name in ("get", "post", "delete")] == [True, True, False]


def test_a_rate_may_span_several_units() -> None:
    assert [ask("1/5d"), ask("1/5d")] == [True, False]


def test_without_a_rate_nothing_is_counted(settings) -> None:
    assert all(ask("") for _ in range(5))
    settings.RATELIMIT_ENABLE = False
    assert all(ask() for _ in range(5))


def test_who_is_refused_learns_when_the_window_ends() -> None:
    ask("1/d")
    with pytest.raises(TooManyRequests) as caught:
        ratelimit.check(RequestFactory().get("/", REMOTE_ADDR="192.0.2.1"), group="g", rate="1/d")
    assert 1 <= caught.value.retry_after_sec <= 86_401
    assert caught.value.detail == "Over 1/d for this address."


def test_in_the_next_window_it_is_let_through_again(monkeypatch) -> None:
    ask("1/m")
    assert not ask("1/m")
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert ask("1/m")


def test_an_address_of_any_form_is_counted() -> None:
    for address in ("", "unix:", "fe80::1%eth0", "x" * 300):
        assert [ask("1/d", address=address), ask("1/d", address=address)] == [True, False]
