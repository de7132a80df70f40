"""What the frameworks raise, as problem+json; and the answer to what nobody foresaw."""

import json

import pytest
from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.test import RequestFactory
from psycopg_pool import PoolTimeout
from rest_framework import exceptions as drf
from rest_framework.request import Request

from poolhub.common import problems
from poolhub.common.errors import Conflict, TooManyRequests

pytestmark = pytest.mark.pure


@pytest.fixture
def request_():
    return RequestFactory().get("/v1/somewhere", headers={"X-Request-ID": "id-1"})


def read(response, status: int, code: str) -> dict:
    assert response.headers["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["request_id"] == "id-1"
    return body


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (Conflict("there is one"), 409, "conflict"),
        (Http404(), 404, "not_found"),
        (drf.NotFound(), 404, "not_found"),
        (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (drf.NotAuthenticated(), 401, "unauthorized"),
        (drf.AuthenticationFailed(), 401, "unauthorized"),
        (PermissionDenied(), 403, "forbidden"),
        (drf.PermissionDenied(), 403, "forbidden"),
        (drf.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (drf.ParseError(), 400, "malformed_json"),
        (drf.Throttled(wait=3.5), 429, "too_many_requests"),
        (drf.ValidationError("no"), 422, "validation_failed"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (UnreadablePostError(), 400, "bad_request"),
        (DisallowedHost("evil"), 400, "disallowed_host"),
        (SuspiciousOperation(), 400, "bad_request"),
        (PoolTimeout("no connection after 3 s"), 503, "unavailable"),
        (OperationalError("database is locked"), 503, "unavailable"),
        (InterfaceError("connection already closed"), 503, "unavailable"),
    ],
)
def test_what_is_foreseen_becomes_a_problem(request_, raised, status, code) -> None:
    read(problems.exception_handler(raised, {"request": Request(request_)}), status, code)


@pytest.mark.parametrize(
    "raised", [ValueError("x"), KeyError("x"), IntegrityError("x"), DataError("x"), RecursionError()]
)
def test_what_nobody_foresaw_goes_on_to_the_log(request_, raised) -> None:
    assert problems.exception_handler(raised, {"request": Request(request_)}) is None


@pytest.mark.parametrize("secret", ["password authentication failed for user postgres", "10.1.2.3:5432"])
def test_a_database_that_is_away_is_logged_and_not_described(request_, caplog, secret) -> None:
    response = problems.exception_handler(OperationalError(secret), {"request": Request(request_)})
    assert secret not in response.content.decode()
    assert int(response.headers["Retry-After"]) >= 1
    assert caplog.messages == [f"GET /v1/somewhere answered 503: {secret}"]


def test_the_headers_of_an_error_are_sent(request_) -> None:
    response = problems.exception_handler(TooManyRequests(retry_after_sec=9), {"request": Request(request_)})
    assert response.headers["Retry-After"] == "9"


def test_djangos_four_views_answer_alike(request_) -> None:
    read(problems.bad_request(request_, SuspiciousOperation()), 400, "bad_request")
    read(problems.bad_request(request_, DjangoBadRequest()), 400, "bad_request")
    read(problems.bad_request(request_, DisallowedHost()), 400, "disallowed_host")
    read(problems.bad_request(request_, RequestDataTooBig()), 413, "body_too_large")
    read(problems.permission_denied(request_, PermissionDenied()), 403, "forbidden")
    read(problems.not_found(request_, Http404()), 404, "not_found")
    assert "log" in read(problems.server_error(request_), 500, "internal_error")["detail"]


@pytest.mark.parametrize(("given", "kept"), [("id-1", True), ("A.b_c:9-" + "x" * 56, True), ("x" * 65, False), ("", False),
                                             ("a b", False), ("a\r\nb", False), ("é", False), ("<x>", False)])  # fmt: skip
def test_a_request_keeps_the_id_of_its_caller_if_that_is_sane(given, kept) -> None:
    request = RequestFactory().get("/", headers={"X-Request-ID": given})
    found = problems.request_id_of(request)
    assert (found == given) is kept
    assert found
    assert problems.request_id_of(request) == problems.request_id_of(Request(request)) == found
