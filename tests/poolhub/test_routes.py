"""What holds for every route: both forms, methods, problems, request ids."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, path

from poolhub import urls
from tests.hub import LiveHub
from tests.matching.reservations.stores import failing
from tests.operators import superuser
from tests.poolhub.routes import METHODS, ROUTES, path_of

PROBLEM = "application/problem+json"
UNKNOWN = [
    "/", "/v1", "/v1/", "/v2/match", "/V1/match", "/v1//match", "/v1/match//", "/v1/match/x", "/v1/match%0a",
    "/v1/miners/" + "x" * 65, "/v1/miners/a%20b", "/v1/miners/a/b", "/v1/reservations/%C3%A9", "/nowhere", "/metrics",
    "/favicon.ico", "/static/nothing.css", "/static/../poolhub/settings.py", "/%00", "/v1/match;x=1",
]  # fmt: skip
LIVE = [route for route in ROUTES if "{" not in route]


def patterns(inside: list[Any], before: str = "") -> list[str]:
    found = []
    for each in inside:
        told = before + str(each.pattern)
        if isinstance(each, URLResolver):
            found += patterns(each.url_patterns, told)
        elif isinstance(each, URLPattern):
            found.append(told)
    return found


def route_of(pattern: str) -> str:
    """`^v1/miners/(?P<miner_id>…)/?\\Z` as the contract writes it."""
    named = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern)
    return "/" + named.removeprefix("^").removesuffix(r"\Z").removesuffix("/?")


def assert_problem(reply: Any, status: int) -> dict[str, Any]:
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == PROBLEM
    told = reply.json()
    assert told.keys() >= {"type", "title", "status", "detail", "code", "request_id"}
    assert told["status"] == status
    assert told["detail"]
    assert told["request_id"] == reply.headers["X-Request-ID"]
    return told


@pytest.mark.pure
def test_the_routes_are_those_of_the_contract() -> None:
    found = [route_of(each) for each in patterns(get_resolver().url_patterns) if not each.startswith("admin/")]
    assert sorted(found) == sorted(ROUTES)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", ROUTES)
def test_each_route_answers_with_and_without_a_slash(registry, client, route) -> None:
    method = ROUTES[route][-1]
    plain = client.generic(method, path_of(route))
    slashed = client.generic(method, path_of(route) + "/")
    assert plain.status_code == slashed.status_code
    assert plain.status_code in {200, 401, 415}
    assert plain.headers["Content-Type"] == slashed.headers["Content-Type"]


@pytest.mark.pure
@pytest.mark.parametrize("route", ROUTES)
def test_another_method_is_405_and_names_the_right_ones_to_anybody(client, route) -> None:
    for method in set(METHODS) - set(ROUTES[route]):
        reply = client.generic(method, path_of(route))
        if method == "HEAD":
            assert reply.status_code == 405
            assert reply.headers["Content-Type"] == PROBLEM
        else:
            assert assert_problem(reply, 405)["code"] == "method_not_allowed"
        assert reply.headers["Allow"].split(", ") == sorted(ROUTES[route])


@pytest.mark.pure
@pytest.mark.parametrize("unknown", UNKNOWN)
def test_an_unknown_address_is_a_404_problem(client, unknown) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert assert_problem(client.generic(method, unknown), 404)["code"] == "not_found"


@pytest.mark.pure
def test_a_foreign_host_is_a_400_problem(client) -> None:
    assert assert_problem(client.get("/v1/health", headers={"Host": "evil.example"}), 400)["code"] == "disallowed_host"
    assert assert_problem(client.get("/nowhere", headers={"Host": "a b"}), 400)["code"] == "disallowed_host"


@pytest.mark.pure
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*;q=0", "nonsense", "*/*"])
def test_what_is_answered_does_not_depend_on_accept(client, accept) -> None:
    assert client.get("/v1/docs", headers={"Accept": accept}).headers["Content-Type"].startswith("text/html")
    assert client.get("/v1/schema", headers={"Accept": accept}).headers["Content-Type"] == "application/json"
    assert_problem(client.post("/v1/match", headers={"Accept": accept}), 401)


@pytest.mark.pure
@pytest.mark.parametrize("given", ["a", "x" * 64, "3f1c.09:A_Z-z"])
def test_a_sane_request_id_is_kept(client, given) -> None:
    for url in ("/v1/schema", "/nowhere", "/v1/match", "/admin/", "/static/admin/css/base.css"):
        reply = client.get(url, headers={"X-Request-ID": given})
        reply.close()
        assert reply.headers["X-Request-ID"] == given


@pytest.mark.pure
@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "é", "<script>", "a\tb", "a\x00", "a;b"])
def test_an_insane_request_id_is_replaced(client, given) -> None:
    found = [
        client.get(url, headers={"X-Request-ID": given}).headers["X-Request-ID"] for url in ("/v1/schema", "/nowhere")
    ]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in found)
    assert found[0] != found[1]


@pytest.mark.django_db(transaction=True)
def test_a_form_without_its_csrf_token_is_a_403_problem() -> None:
    reply = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})
    assert assert_problem(reply, 403)["code"] == "csrf_failed"


@pytest.mark.pure
def test_what_django_answers_without_a_word_is_a_problem_too(client) -> None:
    reply = client.generic("TRACE", "/admin/login/")
    assert_problem(reply, 405)
    assert "POST" in reply.headers["Allow"]


class Broken:
    """A URL conf with a view that fails."""

    handler500 = urls.handler500

    @staticmethod
    def fail(request: Any) -> None:
        raise RuntimeError("the password is hidden")

    urlpatterns = [path("broken", fail)]


@pytest.mark.pure
def test_what_nobody_foresaw_is_a_500_problem_that_tells_nothing_of_it(settings) -> None:
    settings.ROOT_URLCONF = Broken
    reply = Client(raise_request_exception=False).get("/broken", headers={"X-Request-ID": "find-me"})
    assert assert_problem(reply, 500)["request_id"] == "find-me"
    assert b"hidden" not in reply.content


def test_head_answers_as_get_without_a_body(live_hub: LiveHub, http) -> None:
    for url in (
        "/v1/health",
        "/health/",
        "/v1/schema",
        "/v1/docs",
        "/v1/miners",
        "/nowhere",
        "/static/admin/css/base.css",
    ):
        got, head = http.get(url, headers=live_hub.admin), http.head(url, headers=live_hub.admin)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.headers["X-Request-ID"]


@pytest.mark.parametrize("route", LIVE)
def test_a_real_server_answers_both_forms_and_refuses_other_methods(http, route) -> None:
    assert http.request(ROUTES[route][0], route).status_code == http.request(ROUTES[route][0], route + "/").status_code
    for method in set(METHODS) - set(ROUTES[route]) - {"HEAD"}:
        assert_problem(http.request(method, route), 405)


@pytest.mark.django_db
def test_an_admin_page_that_needs_a_database_which_is_away_is_503_and_no_error_of_the_hub() -> None:
    client = superuser()
    with failing():
        reply = client.get("/admin/miners/miner/")
    assert reply.status_code == 503
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert int(reply.headers["Retry-After"]) > 0
