"""Guessing passwords at the admin's login."""

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client

from tests.operators import messages_of, superuser

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
RIGHT = "the right password"
LIMIT = 3


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    settings.AXES_FAILURE_LIMIT = LIMIT
    settings.TRUSTED_PROXIES = ()
    User.objects.create_superuser("root", password=RIGHT)


def attempt(password: str, *, address: str = "203.0.113.7", name: str = "root", **more: str):
    return Client().post(LOGIN, {"username": name, "password": password, **more}, REMOTE_ADDR=address)


def gets_in(address: str = "203.0.113.7", **headers: str) -> bool:
    client = Client(headers=headers)
    client.post(LOGIN, {"username": "root", "password": RIGHT}, REMOTE_ADDR=address)
    return "_auth_user_id" in client.session


def guess(number: int, address: str = "203.0.113.7") -> None:
    for i in range(number):
        attempt(f"guess {i}", address=address, name=f"name{i % 2}")


def test_below_the_limit_the_right_password_works() -> None:
    guess(LIMIT - 1)
    assert gets_in()


def test_at_the_limit_the_address_is_locked_out_whatever_the_name_and_the_password() -> None:
    guess(LIMIT)
    assert not gets_in()
    reply = Client().post(LOGIN, {"username": "root", "password": RIGHT}, REMOTE_ADDR="203.0.113.7", follow=True)
    assert messages_of(reply) == ["Too many failed logins from this address. Try again in 15 min."]


def test_another_address_is_not_locked_out() -> None:
    guess(LIMIT)
    assert gets_in("203.0.113.8")


def test_a_login_that_works_does_not_start_the_count_anew() -> None:
    guess(LIMIT - 1)
    assert gets_in()
    guess(1)
    assert not gets_in()


def test_ipv6_counts_by_the_network_of_64_bits() -> None:
    guess(LIMIT, "2001:db8:1:2::1")
    assert not gets_in("2001:db8:1:2:ffff::9")
    assert gets_in("2001:db8:1:3::1")


def test_a_header_that_no_trusted_proxy_wrote_changes_no_address() -> None:
    guess(LIMIT)
    assert not gets_in(**{"X-Forwarded-For": "198.51.100.1"})


def test_behind_a_trusted_proxy_the_client_is_counted_not_the_proxy(settings) -> None:
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = (ip_network("10.0.0.1/32"),)
    for i in range(LIMIT):
        Client(headers={"X-Forwarded-For": "203.0.113.7"}).post(
            LOGIN, {"username": "root", "password": str(i)}, REMOTE_ADDR="10.0.0.1"
        )
    assert not gets_in("10.0.0.1", **{"X-Forwarded-For": "203.0.113.7"})
    assert gets_in("10.0.0.1", **{"X-Forwarded-For": "203.0.113.8"})


def test_while_locked_out_nothing_more_is_written() -> None:
    guess(LIMIT)
    before = list(AccessAttempt.objects.order_by("pk").values())
    guess(5)
    assert list(AccessAttempt.objects.order_by("pk").values()) == before


def test_passwords_are_not_kept() -> None:
    attempt("hunter2-and-more")
    kept = AccessAttempt.objects.values().get()
    assert kept["username"] == "root"
    assert "hunter2" not in str(kept)


def test_without_an_address_it_counts_too() -> None:
    guess(LIMIT, "")
    assert not gets_in("")


@pytest.mark.parametrize("more", [{"next": "\x00"}, {"x": "\x00"}])
def test_odd_characters_are_no_error(more) -> None:
    assert attempt("wrong", **more).status_code == 200


def test_an_administrator_sees_failures_and_may_forget_them() -> None:
    guess(LIMIT)
    client = superuser("chief")
    url = "/admin/axes/accessattempt/"
    assert "203.0.113.7" in client.get(url).content.decode()
    kept = list(AccessAttempt.objects.values_list("pk", flat=True))
    done = client.post(url, {"action": "forget", "_selected_action": kept}, follow=True)
    assert messages_of(done) == ["2 failed logins forgotten."]
    assert gets_in()
