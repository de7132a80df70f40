"""The OpenAPI document and its page."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from poolhub.openapi import document
from tests.hub import LiveHub
from tests.poolhub.routes import ROUTES

pure = pytest.mark.pure
PAGES = {"/v1/docs", "/health"}  # the page itself, and health under its other name
METHODS = {"get", "post", "delete"}
BODYLESS_POSTS = {"/v1/miners/lease/renew", "/v1/miners/logout", "/v1/reservations/{reservation_id}/renew"}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return json.loads(document())


def operations(told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pure
def test_it_is_valid_openapi_3_1(told) -> None:
    assert told["openapi"] == "3.1.0"
    validate_schema(told)


@pure
def test_every_reference_resolves_and_every_component_is_used(told) -> None:
    named = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert set(references(told)) == named


@pure
def test_every_component_is_valid_json_schema(told) -> None:
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pure
def test_it_has_the_routes_of_the_contract_and_no_others(told) -> None:
    found = {(path, method.upper()) for path, method, _ in operations(told)}
    wanted = {(path, method) for path, methods in ROUTES.items() for method in methods if method != "HEAD"}
    assert found == {(path, method) for path, method in wanted if path not in PAGES}


@pure
def test_operation_ids_are_names_and_unique(told) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(told)]
    assert len(set(ids)) == len(ids)
    assert all(each.isidentifier() for each in ids)


@pure
def test_every_refusal_is_a_problem(told) -> None:
    for path, _, operation in operations(told):
        refusals = {status: each for status, each in operation["responses"].items() if status >= "400"}
        if path == "/v1/health":
            assert list(refusals.pop("503")["content"]) == ["application/json"]
        assert {kind for each in refusals.values() for kind in each["content"]} == {"application/problem+json"}
        assert {"400", "411", "413"} <= refusals.keys()


@pure
def test_every_body_is_json_and_required_where_the_route_reads_one(told) -> None:
    for path, method, operation in operations(told):
        if method == "post":
            assert list(operation["requestBody"]["content"]) == ["application/json"]
            assert operation["requestBody"]["required"] is (path not in BODYLESS_POSTS)
            assert {"415", "422"} <= operation["responses"].keys()
        else:
            assert "requestBody" not in operation


@pure
def test_every_path_parameter_is_described(told) -> None:
    for path, _, operation in operations(told):
        described = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", path))


@pure
def test_it_says_who_may_call(told) -> None:
    schemes = told["components"]["securitySchemes"]
    ways = {path: operation["security"] for path, _, operation in operations(told)}
    assert {name for each in ways.values() for way in each for name in way} == schemes.keys()
    assert ways["/v1/match"] == ways["/v1/feedback"] == ways["/v1/reservations"] == [{"CoordinatorSecret": []}]
    assert ways["/v1/miners"] == [{"AdminSecret": []}, {"StaffSession": []}]
    assert ways["/v1/miners/update"] == [{"SessionToken": []}, {"SessionTokenInQuery": []}]
    assert ways["/v1/metrics"] == [{"AdminSecret": []}, {}]
    for path in ("/v1/miners/register", "/v1/health", "/v1/schema"):
        assert ways[path] == [{}]
    assert schemes["CoordinatorSecret"] == {"type": "apiKey", "in": "header", "name": "X-Coordinator-Secret"}
    assert schemes["AdminSecret"] == {"type": "apiKey", "in": "header", "name": "X-Admin-Secret"}


@pure
def test_the_contract_s_limits_are_in_it(told) -> None:
    schemas = told["components"]["schemas"]
    match, requirements = schemas["MatchRequest"], schemas["Requirements"]
    assert match["required"] == ["job_id"]
    assert match["properties"]["job_id"] == {"type": "string", "minLength": 1, "maxLength": 128}
    assert {"type": "integer", "minimum": 1, "maximum": 50} in match["properties"]["top_k"]["anyOf"]
    assert requirements["additionalProperties"] is schemas["Hints"]["additionalProperties"] is False
    assert "additionalProperties" not in match
    assert set(schemas["RegisterRequest"]["required"]) == {"miner_id", "api_key", "addr"}
    assert schemas["BatchBody"]["properties"]["requests"]["maxItems"] == 256


@pure
def test_it_names_no_host_and_is_made_once(told) -> None:
    assert "servers" not in told
    assert document() is document()


def test_the_hub_serves_it(live_hub: LiveHub, http, told) -> None:
    reply = http.get("/v1/schema")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json() == told


def test_the_page_and_all_that_it_loads_comes_from_this_hub(http) -> None:
    page = http.get("/v1/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) >= 5
    for address in loaded:
        assert re.match(r"/[^/]", address)
        assert http.get(address).status_code == 200
    script = http.get(next(each for each in loaded if "script=" in each))
    assert script.headers["Content-Type"] == "application/javascript"
    assert '"/v1/schema"' in script.text.encode().decode("unicode_escape")
    assert '"validatorUrl": null' in script.text
    for text in (page.text, script.text):
        assert not re.search(r"https?://|[\"'(]//", text)
