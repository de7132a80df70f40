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
    no_nul = {"type": "string", "pattern": r"^[^\x00]*$"}
    assert match["properties"]["job_id"] == {**no_nul, "minLength": 1, "maxLength": 128}
    assert {"type": "integer", "minimum": 1, "maximum": 50} in match["properties"]["top_k"]["anyOf"]
    assert requirements["additionalProperties"] is schemas["Hints"]["additionalProperties"] is False
    assert "additionalProperties" not in match
    assert set(schemas["RegisterRequest"]["required"]) == {"miner_id", "api_key", "addr"}
    assert schemas["BatchBody"]["properties"]["requests"]["maxItems"] == 256


@pure
def test_what_may_be_left_out_of_a_request_may_be_null_and_nothing_of_an_answer(told) -> None:
    schemas = told["components"]["schemas"]
    null = {"type": "null"}
    asked = {"RegisterRequest", "UpdateRequest", "MatchRequest", "Requirements", "Hints", "WeightsBody", "TagsArgs"}
    for name in asked:
        for field, value in schemas[name]["properties"].items():
            assert (null in value.get("anyOf", [])) is (field not in schemas[name].get("required", [])), (name, field)
    assert "anyOf" not in schemas["MatchAnswer"]["properties"]["reservation"]
    assert schemas["MinerAnswer"]["properties"]["region"] == {"type": "string"}


@pure
@pytest.mark.parametrize(
    ("kind", "body", "valid"),
    [
        ("WeightsBody", {"cap": 1}, True), ("WeightsBody", {"cap": 0, "load": 0.1}, True),
        ("WeightsBody", {}, False), ("WeightsBody", {"cap": 0, "price": None}, False),
        ("CommandRequest", {"name": "update_tags", "args": {"tags": ["a"]}}, True),
        ("CommandRequest", {"name": "update_tags"}, False), ("CommandRequest", {"name": "update_tags", "args": {}}, False),
        ("CommandRequest", {"name": "set_price_cap"}, True), ("CommandRequest", {"name": "set_price_cap", "args": {"price": None}}, True),
        ("CommandRequest", {"name": "set_price_cap", "args": {"price": "x"}}, False),
        ("CommandRequest", {"name": "drain", "args": {"anything": 1}}, True), ("CommandRequest", {"name": "dance"}, False),
        ("Requirements", {"proto_any": None}, True), ("Requirements", {"unknown": 1}, False),
        ("UpdateRequest", {"tags": {"cuda": "12.4", "n": 3, "x": None}}, True), ("UpdateRequest", {"tags": ["a\u0007"]}, False),
        ("UpdateRequest", {"tags": ["a\u202eb"]}, False), ("UpdateRequest", {"unknown": 1}, True),
        ("FeedbackRequest", {"job_id": "a\u0000", "miner_id": "m", "outcome": "accepted"}, False),
        ("FeedbackRequest", {"job_id": "a\u0007", "miner_id": "m", "outcome": "accepted"}, True),
    ],
)  # fmt: skip
def test_it_tells_what_a_body_may_be(told, kind, body, valid) -> None:
    schema = {"$ref": f"#/components/schemas/{kind}", "components": told["components"]}
    assert Draft202012Validator(schema).is_valid(body) is valid


@pure
def test_it_names_no_host_and_is_made_once(told) -> None:
    assert "servers" not in told
    assert document() is document()


def test_the_hub_serves_it(live_hub: LiveHub, http, told) -> None:
    reply = http.get("/v1/schema")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json() == told


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Admin-Secret": "wrong", "X-Coordinator-Secret": "wrong", "Authorization": "Bearer wrong"},
        {"Cookie": "poolhub_session=wrong"},
    ],
    ids=["none", "wrong", "cookie"],
)
def test_every_operation_that_asks_for_a_credential_refuses_strangers(http, told, headers) -> None:
    closed = [(path, method) for path, method, each in operations(told) if {} not in each["security"]]
    assert len(closed) == 18
    for path, method in closed:
        body = {"json": {}} if method == "post" else {}
        reply = http.request(method.upper(), re.sub(r"\{\w+\}", "one", path), headers=headers, **body)
        assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized"), path
        assert reply.headers["WWW-Authenticate"].endswith('realm="pool-hub"')


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
