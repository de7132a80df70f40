"""Each answer says what it may load; only the admin may evaluate expressions, and only from its own files."""

import pytest
from django.test import Client

from poolhub.csp import ADMIN, DOCS, HEADER, STRICT
from tests.operators import superuser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registry")]


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (each.split() for each in policy.split(";"))}


@pytest.mark.parametrize(
    "path", ["/v1/schema", "/v1/miners", "/nowhere", "/static/unfold/js/app.js", "/adminx", "/v1/match"]
)
def test_what_is_no_page_may_load_nothing(path) -> None:
    reply = Client().get(path)
    assert reply.headers[HEADER] == STRICT
    reply.close()


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/miners/miner/", "/admin/nowhere/"])
def test_the_admin_loads_from_the_hub_alone(path) -> None:
    assert superuser().get(path).headers[HEADER] == ADMIN


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/docs/", "/v1/docs?script="])
def test_the_page_of_the_api_evaluates_nothing(path) -> None:
    assert Client().get(path).headers[HEADER] == DOCS


@pytest.mark.parametrize("policy", [STRICT, DOCS, ADMIN])
def test_no_policy_lets_in_inline_scripts_other_hosts_or_frames(policy) -> None:
    found = directives(policy)
    assert found["default-src"] == found["frame-ancestors"] == found["base-uri"] == ["'none'"]
    assert set(found.get("script-src", [])) <= {"'self'", "'unsafe-eval'"}
    allowed = {"'none'", "'self'", "'unsafe-inline'", "'unsafe-eval'", "data:"}
    assert {source for sources in found.values() for source in sources} <= allowed
    assert ("'unsafe-eval'" in found.get("script-src", [])) == (policy == ADMIN)
