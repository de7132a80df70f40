"""Shared secrets, and the staff session that stands for one."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.middleware.csrf import get_token
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from poolhub.common.auth import AdminSecret, AdminSecretOrStaff, check_secret, secret_matches
from poolhub.common.errors import Forbidden, NotConfigured, Unauthorized
from poolhub.common.views import FirstRenderer
from tests.effort import effort

pytestmark = pytest.mark.pure
SECRET = "admin-secret-for-tests"


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    settings.ADMIN_SHARED_SECRET = (SECRET, "the-next-admin-secret")
    settings.ADMIN_ALLOWLIST = ()
    settings.TRUSTED_PROXIES = ()


@pytest.mark.parametrize(
    ("given_secret", "accepted", "matches"),
    [
        ("one", ("one",), True),
        ("two", ("one", "two"), True),
        ("one", ("one", "two"), True),
        ("One", ("one",), False),
        ("one ", ("one",), False),
        ("on", ("one",), False),
        ("one,two", ("one", "two"), False),
        ("", ("one",), False),
        (None, ("one",), False),
        ("", ("",), False),
        ("one", (), False),
        ("é", ("é",), True),
        ("\x00", ("one",), False),
    ],
)
def test_a_secret_is_one_of_those_accepted(given_secret, accepted, matches) -> None:
    assert secret_matches(given_secret, accepted) is matches


@effort(200)
@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_it_matches_what_is_accepted_and_nothing_else(given_secret: str, accepted: list[str]) -> None:
    assert secret_matches(given_secret, accepted) == (given_secret in accepted)


def check(given_secret: str | None, address: str = "192.0.2.1", allowlist: str | None = "ADMIN_ALLOWLIST") -> None:
    check_secret(
        given=given_secret,
        address=lambda: address,
        header="X-Admin-Secret",
        setting_name="ADMIN_SHARED_SECRET",
        allowlist_name=allowlist,
    )


def test_a_wrong_secret_says_which_header_and_not_what_was_wrong() -> None:
    check(SECRET)
    errors = []
    for wrong in (None, "", "wrong", SECRET + "x"):
        with pytest.raises(Unauthorized) as caught:
            check(wrong)
        errors.append((caught.value.detail, caught.value.headers))
    said = ("X-Admin-Secret is missing or wrong.", {"WWW-Authenticate": 'X-Admin-Secret realm="pool-hub"'})
    assert errors == [said] * 4


def test_without_a_secret_configured_the_route_is_never_open(settings) -> None:
    settings.ADMIN_SHARED_SECRET = ()
    for each in (None, "", SECRET):
        with pytest.raises(NotConfigured) as caught:
            check(each)
        assert (caught.value.status, caught.value.code) == (503, "not_configured")


def test_outside_the_allowlist_a_right_secret_and_a_wrong_one_are_told_the_same(settings) -> None:
    settings.ADMIN_ALLOWLIST = (ip_network("10.0.0.0/8"),)
    check(SECRET, "10.1.1.1")
    check(SECRET, "192.0.2.1", allowlist=None)
    for each in (SECRET, "wrong", None):
        with pytest.raises(Forbidden) as caught:
            check(each, "192.0.2.1")
        assert (caught.value.status, caught.value.code) == (403, "address_not_allowed")


# ---- the same on a request, and for staff


def request_of(user: Any = None, *, method: str = "get", session: bool = True, csrf: bool = False, **headers: str):
    factory = RequestFactory()
    body = {} if method == "get" else {"data": {"a": 1}, "content_type": "application/json"}
    made = getattr(factory, method)("/", headers=headers, **body)
    made.user = user or AnonymousUser()
    if session:
        made.COOKIES["poolhub_session"] = "s"
    if csrf:
        token = get_token(made)
        made.COOKIES["poolhub_csrf"] = made.META["CSRF_COOKIE"]
        made.META["HTTP_X_CSRFTOKEN"] = token
    return Request(made, negotiator=FirstRenderer())


def staff(**fields: Any) -> User:
    return User(username="s", **{"is_staff": True, "is_active": True, **fields})


def test_the_secret_is_read_from_its_header() -> None:
    for permission in (AdminSecret(), AdminSecretOrStaff()):
        assert permission.has_permission(request_of(**{"X-Admin-Secret": SECRET}), None)
        for headers in ({}, {"X-Coordinator-Secret": SECRET}, {"X-Admin-Secret": "wrong"}):
            with pytest.raises(Unauthorized):
                permission.has_permission(request_of(**headers), None)


def test_a_staff_session_stands_for_the_secret() -> None:
    assert AdminSecretOrStaff().has_permission(request_of(staff()), None)
    with pytest.raises(Unauthorized):
        AdminSecret().has_permission(request_of(staff()), None)


def test_a_staff_session_needs_no_secret_to_be_configured(settings) -> None:
    settings.ADMIN_SHARED_SECRET = ()
    assert AdminSecretOrStaff().has_permission(request_of(staff()), None)
    with pytest.raises(NotConfigured):
        AdminSecretOrStaff().has_permission(request_of(), None)


@pytest.mark.parametrize("user", [AnonymousUser(), staff(is_staff=False), staff(is_active=False)])
def test_other_sessions_do_not(user) -> None:
    with pytest.raises(Unauthorized):
        AdminSecretOrStaff().has_permission(request_of(user), None)


def test_a_wrong_secret_is_not_saved_by_a_session() -> None:
    with pytest.raises(Unauthorized):
        AdminSecretOrStaff().has_permission(request_of(staff(), **{"X-Admin-Secret": "wrong"}), None)


def test_staff_outside_the_allowlist_is_403(settings) -> None:
    settings.ADMIN_ALLOWLIST = (ip_network("10.0.0.0/8"),)
    with pytest.raises(Forbidden):
        AdminSecretOrStaff().has_permission(request_of(staff()), None)


def test_a_staff_session_that_writes_shows_its_csrf_token() -> None:
    with pytest.raises(PermissionDenied):
        AdminSecretOrStaff().has_permission(request_of(staff(), method="post"), None)
    request = request_of(staff(), method="post", csrf=True)
    assert AdminSecretOrStaff().has_permission(request, None)
    assert request._request.body == b'{"a": 1}'  # for the view to read


def test_a_request_without_a_session_cookie_asks_for_no_user() -> None:
    request = request_of(session=False)
    del request._request.user
    with pytest.raises(Unauthorized):
        AdminSecretOrStaff().has_permission(request, None)
