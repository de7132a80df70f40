"""What POST /v1/match refuses, how it says so, and that a refused request changes nothing."""

import json
from ipaddress import ip_network

import pytest
from django.test import Client

from tests.matching.builders import COORDINATOR, SECRET, add, ask, fields_of, match, own

URL = "/v1/match"


def send(body: bytes, content_type: str = "application/json"):
    return Client().post(URL, body, content_type=content_type, headers=COORDINATOR)


def call(**headers: str):
    return Client().post(URL, {"job_id": "j"}, content_type="application/json", headers=headers)


def is_problem(reply, status: int, code: str) -> bool:
    body = reply.json()
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= body.keys()
    assert body["request_id"] == reply.headers["X-Request-ID"]
    return (reply.status_code, body["status"], body["code"]) == (status, status, code)


# ---- who may ask


@pytest.mark.parametrize("headers", [{}, {"X-Coordinator-Secret": ""}, {"X-Coordinator-Secret": "coordinator-secret"},
                                     {"X-Admin-Secret": SECRET}, {"Authorization": f"Bearer {SECRET}"},
                                     {"X-Coordinator-Secret": "é" * 28}])  # fmt: skip
def test_without_the_secret_it_is_401_and_says_what_to_send(headers) -> None:
    reply = call(**headers)
    assert is_problem(reply, 401, "unauthorized")
    assert reply.headers["WWW-Authenticate"] == 'X-Coordinator-Secret realm="pool-hub"'


@pytest.mark.parametrize("path", ["/v1/match/why-not", "/v1/match/batch", "/v1/reservations/x/renew"])
def test_every_route_of_the_coordinator_needs_the_secret(path) -> None:
    assert Client().post(path, {}, content_type="application/json").status_code == 401
    assert Client().get("/v1/reservations").status_code == 401
    assert Client().delete("/v1/reservations/x").status_code == 401


def test_a_wrong_secret_is_401_whatever_else_is_wrong() -> None:
    assert Client().post(URL, b"{", content_type="text/plain").status_code == 401


def test_without_any_secret_configured_nobody_is_let_in(settings) -> None:
    settings.COORDINATOR_SHARED_SECRET = ()
    for headers in ({}, {"X-Coordinator-Secret": ""}, COORDINATOR):
        assert is_problem(call(**headers), 503, "not_configured")


def test_while_a_secret_is_rotated_both_are_valid(settings) -> None:
    settings.COORDINATOR_SHARED_SECRET = ("old-secret-0123456", "new-secret-0123456")
    answers = [call(**{"X-Coordinator-Secret": name}).status_code for name in settings.COORDINATOR_SHARED_SECRET]
    assert answers == [200, 200]
    settings.COORDINATOR_SHARED_SECRET = ("new-secret-0123456",)
    assert call(**{"X-Coordinator-Secret": "old-secret-0123456"}).status_code == 401
    assert call(**{"X-Coordinator-Secret": "old-secret-0123456,new-secret-0123456"}).status_code == 401


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "let_in"),
    [
        ((), "10.0.0.5", None, True),
        ((), "192.0.2.1", None, False),
        ((), "::ffff:10.0.0.5", None, True),
        ((), "192.0.2.1", "10.0.0.5", False),  # anybody may write that header
        (("198.51.100.0/24",), "192.0.2.1", "10.0.0.5", False),
        (("198.51.100.0/24",), "198.51.100.1", "10.0.0.5", True),
        (("198.51.100.0/24",), "198.51.100.1", "192.0.2.1", False),
        (("198.51.100.0/24",), "198.51.100.1", "10.0.0.5, 192.0.2.1", False),  # the left one is the caller's claim
        (("198.51.100.0/24",), "198.51.100.1", "192.0.2.1, 10.0.0.5", True),
        (("198.51.100.0/24",), "198.51.100.1", "10.0.0.5, 198.51.100.2", True),
        (("198.51.100.0/24",), "198.51.100.1", None, False),
    ],
)
def test_the_allowlist_asks_for_the_address_that_trusted_proxies_tell(
    settings, proxies, remote, forwarded, let_in
) -> None:
    settings.COORDINATOR_ALLOWLIST = (ip_network("10.0.0.0/8"),)
    settings.TRUSTED_PROXIES = tuple(map(ip_network, proxies))
    headers = {**COORDINATOR, **({"X-Forwarded-For": forwarded} if forwarded else {})}
    reply = Client(REMOTE_ADDR=remote).post(URL, {"job_id": "j"}, content_type="application/json", headers=headers)
    assert reply.status_code == 200 if let_in else is_problem(reply, 403, "address_not_allowed")


# ---- what is no request


@pytest.mark.parametrize("body", [b" ", b"{", b"nonsense", b'{"job_id":"j"} {}', b'{"job_id":"j",}', b"{'job_id':1}", b'{"job_id":1',
                                  b'{"job_id":"\xff"}', b'{"job_id":"\xed\xa0\x80"}', b'\xef\xbb\xbf{"job_id":"j"}',
                                  b'{"job_id":"a\x00b"}', b"\x00", b'{"job_id":"\\ud800"}', b'{"job_id":"\\udc00\\ud800"}',
                                  b'{"job_id":NaN}', b'{"job_id":"j","hints":{"max_price":Infinity}}',
                                  b'{"job_id":"j","hints":{"deadline_ms":-Infinity}}'])  # fmt: skip
def test_what_is_not_json_is_400(body) -> None:
    assert is_problem(send(body), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"j"', b"true"])
def test_json_that_is_no_object_is_422(body) -> None:
    assert is_problem(send(body), 422, "invalid_type")


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonl"])
def test_what_does_not_say_json_is_415(content_type) -> None:
    assert is_problem(send(b'{"job_id":"j"}', content_type), 415, "unsupported_media_type")


def test_json_with_a_charset_is_taken() -> None:
    assert send('{"job_id":"é"}'.encode(), "Application/JSON; charset=utf-8").json()["job_id"] == "é"


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "head"])
def test_other_methods_are_405(method) -> None:
    """OPTIONS too: there is nothing to say about a route that /v1/schema does not."""
    reply = getattr(Client(), method)(URL, headers=COORDINATOR)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_413(settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = json.dumps({"job_id": "j", "note": ""})
    padded = json.dumps({"job_id": "j", "note": "x" * (1000 - len(body))}).encode()
    assert (len(padded), send(padded).status_code) == (1000, 200)
    assert is_problem(send(padded + b" "), 413, "body_too_large")


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 40_000, b'{"job_id":"j","x":' + b"[" * 16 + b"]" * 16 + b"}"]
)
def test_nesting_over_16_levels_is_refused_in_ignored_fields_too(body) -> None:
    assert is_problem(send(body), 422, "too_deep")


def test_16_levels_are_taken_and_brackets_in_texts_do_not_count() -> None:
    assert send(b'{"job_id":"[[[[[[[[[[[[[[[[[[","x":' + b"[" * 15 + b"]" * 15 + b"}").status_code == 200


# ---- what is out of bounds

LIMITS = [
    ({}, "job_id", "required"),
    ({"job_id": None}, "job_id", "required"),
    ({"job_id": ""}, "job_id", "too_short"),
    ({"job_id": "x" * 129}, "job_id", "too_long"),
    ({"job_id": 5}, "job_id", "invalid_type"),
    ({"job_id": "a\0b"}, "job_id", "invalid_character"),
    ({"top_k": 0}, "top_k", "out_of_range"),
    ({"top_k": 51}, "top_k", "out_of_range"),
    ({"top_k": 1.5}, "top_k", "invalid_type"),
    ({"top_k": True}, "top_k", "invalid_type"),
    ({"top_k": "3"}, "top_k", "invalid_type"),
    ({"top_k": 10**30}, "top_k", "out_of_range"),
    ({"reserve": 1}, "reserve", "invalid_type"),
    ({"reserve": "true"}, "reserve", "invalid_type"),
    ({"dry_run": 0}, "dry_run", "invalid_type"),
    ({"reservation_ttl_ms": 999}, "reservation_ttl_ms", "out_of_range"),
    ({"reservation_ttl_ms": 600_001}, "reservation_ttl_ms", "out_of_range"),
    ({"requirements": []}, "requirements", "invalid_type"),
    ({"requirements": {"min_vram_gb": -1}}, "requirements.min_vram_gb", "out_of_range"),
    ({"requirements": {"min_vram_gb": 1_000_001}}, "requirements.min_vram_gb", "out_of_range"),
    ({"requirements": {"min_vram_gb": True}}, "requirements.min_vram_gb", "invalid_type"),
    ({"requirements": {"min_vram_gb": "8"}}, "requirements.min_vram_gb", "invalid_type"),
    ({"requirements": {"min_vram_gb": [8]}}, "requirements.min_vram_gb", "invalid_type"),
    ({"requirements": {"min_ram_gb": 10**400}}, "requirements.min_ram_gb", "out_of_range"),
    ({"requirements": {"min_gpu_count": 0.5}}, "requirements.min_gpu_count", "invalid_type"),
    ({"requirements": {"min_cpu_cores": 1_000_001}}, "requirements.min_cpu_cores", "out_of_range"),
    ({"requirements": {"min_mem_free_gb": -0.1}}, "requirements.min_mem_free_gb", "out_of_range"),
    ({"requirements": {"min_trust": -1}}, "requirements.min_trust", "out_of_range"),
    ({"requirements": {"accel": "cuda"}}, "requirements.accel", "invalid_type"),
    ({"requirements": {"accel": ["cuda", 5]}}, "requirements.accel[1]", "invalid_type"),
    ({"requirements": {"accel": [None]}}, "requirements.accel[0]", "invalid_type"),
    ({"requirements": {"tags_any": ["\0"]}}, "requirements.tags_any[0]", "invalid_character"),
    ({"requirements": {"exclude_miners": ["m"] * 1001}}, "requirements.exclude_miners", "too_long"),
    ({"requirements": {"attested": "yes"}}, "requirements.attested", "invalid_type"),
    ({"hints": "eu"}, "hints", "invalid_type"),
    ({"hints": {"region": "x" * 65}}, "hints.region", "too_long"),
    ({"hints": {"max_price": -0.1}}, "hints.max_price", "out_of_range"),
    ({"hints": {"max_price": 1_000_000_001}}, "hints.max_price", "out_of_range"),
    ({"hints": {"max_price": True}}, "hints.max_price", "invalid_type"),
    ({"hints": {"max_price": "NaN"}}, "hints.max_price", "invalid_format"),
    ({"hints": {"max_price": "١"}}, "hints.max_price", "invalid_format"),
    ({"hints": {"deadline_ms": 1e13}}, "hints.deadline_ms", "out_of_range"),
    ({"hints": {"explain": "long"}}, "hints.explain", "invalid_value"),
    ({"hints": {"weights": {}}}, "hints.weights", "out_of_range"),
    ({"hints": {"weights": {"cap": 0, "load": None}}}, "hints.weights", "out_of_range"),
    ({"hints": {"weights": {"cap": -1, "load": 2}}}, "hints.weights.cap", "out_of_range"),
    ({"hints": {"weights": {"cap": False}}}, "hints.weights.cap", "invalid_type"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "code"), LIMITS)
def test_what_is_out_of_bounds_is_422_and_named_by_its_path(body, field, code) -> None:
    reply = send(json.dumps(body if "job_id" in field else {"job_id": "j", **body}).encode())
    assert is_problem(reply, 422, code)
    assert fields_of(reply) == {field: code}
    assert reply.json()["errors"][0]["detail"]


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 5000, b"1e999999999"])
@pytest.mark.parametrize("field", [b"min_vram_gb", b"min_gpu_count"])
def test_a_number_that_no_machine_holds_is_out_of_range(field, number) -> None:
    reply = send(b'{"job_id":"j","requirements":{"%b":%b}}' % (field, number))
    assert fields_of(reply) == {f"requirements.{field.decode()}": "out_of_range"}


def test_the_limits_themselves_are_taken(client) -> None:
    add()
    requirements = {"exclude_miners": ["nobody"] * 1000, "min_vram_gb": 10**6, "min_cpu_cores": 10**6}
    hints = {"max_price": 10**9, "deadline_ms": 10**12, "region": "x" * 64}
    answer = match(client, "x" * 128, requirements=requirements, hints=hints, top_k=50, reservation_ttl_ms=600_000)
    assert answer["eligible"] == 0
    assert (
        match(client, top_k=2.0, requirements={"min_gpu_count": 1.0})["eligible"] == 1
    )  # whole numbers, as JSON has them


@pytest.mark.parametrize("value", [1, None, "x", [], {"a": {}}])
@pytest.mark.parametrize(
    ("body", "path", "nearest"),
    [
        (lambda value: {"requirements": {"min_vram": value}}, "requirements.min_vram", "min_vram_gb"),
        (lambda value: {"requirements": {"Accel": value}}, "requirements.Accel", "accel"),
        (lambda value: {"requirements": {"region": value}}, "requirements.region", None),
        (lambda value: {"requirements": {"": value}}, "requirements.", None),
        (lambda value: {"hints": {"maxprice": value}}, "hints.maxprice", "max_price"),
        (lambda value: {"hints": {"weights": {"prize": value, "cap": 1}}}, "hints.weights.prize", "price"),
        (lambda value: {"hints": {"weights": {"prize": value}}}, "hints.weights.prize", "price"),
    ],
)  # fmt: skip
def test_an_unknown_filter_or_hint_is_never_dropped(client, body, path, nearest, value) -> None:
    reply = ask(client, **body(value))
    assert is_problem(reply, 422, "unknown_field")
    assert fields_of(reply) == {path: "unknown_field"}
    detail = "the nearest known one is" + (f" {nearest}" if nearest else "")
    assert detail in reply.json()["detail"]
    assert detail in reply.json()["errors"][0]["detail"]


def test_every_bad_field_is_named_once_in_the_order_of_the_body(client) -> None:
    requirements = {"vram": 1, "accel": "cuda", "min_ram_gb": -1, "disk": None, "cores": 2}
    reply = ask(client, requirements=requirements, hints={"explain": "x", "weights": {"latency": "low"}}, top_k=99)
    assert list(fields_of(reply)) == [
        "requirements.min_ram_gb", "requirements.accel", "requirements.vram", "requirements.disk", "requirements.cores",
        "hints.weights.latency", "hints.explain", "top_k",
    ]  # fmt: skip
    assert reply.json()["code"] == "validation_failed"


def test_a_long_unknown_key_is_repeated_in_part(client) -> None:
    reply = ask(client, requirements={"k" * 10_000: 1})
    assert list(fields_of(reply)) == ["requirements." + "k" * 64]


def test_a_refused_match_changes_nothing(client) -> None:
    add()
    assert ask(client, top_k=99, reserve=True).status_code == 422
    assert ask(client, requirements={"nothing": 1}).status_code == 422
    assert own() == 0
