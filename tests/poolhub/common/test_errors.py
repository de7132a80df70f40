"""The one error tree, and the shape in which every error leaves."""

from http import HTTPStatus

import pytest

from poolhub.common import errors
from poolhub.common.errors import (
    FieldError,
    HubError,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    ValidationFailed,
    problem,
)

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.HubError, 500, "internal_error"),
        (errors.MalformedJSON, 400, "malformed_json"),
        (errors.BadRequest, 400, "bad_request"),
        (errors.Unauthorized, 401, "unauthorized"),
        (errors.Forbidden, 403, "forbidden"),
        (errors.NotFound, 404, "not_found"),
        (errors.MethodNotAllowed, 405, "method_not_allowed"),
        (errors.Conflict, 409, "conflict"),
        (errors.LengthRequired, 411, "length_required"),
        (errors.BodyTooLarge, 413, "body_too_large"),
        (errors.UnsupportedMediaType, 415, "unsupported_media_type"),
        (errors.ValidationFailed, 422, "validation_failed"),
        (errors.TooManyRequests, 429, "too_many_requests"),
        (errors.Unavailable, 503, "unavailable"),
        (errors.Overloaded, 503, "overloaded"),
        (errors.NotConfigured, 503, "not_configured"),
    ],
)
def test_each_error_has_its_status_and_code(kind, status, code) -> None:
    phrase = HTTPStatus(status).phrase
    assert problem(kind(), "id-1") == {
        "type": "about:blank", "title": phrase, "status": status, "detail": f"{phrase}.", "code": code,
        "request_id": "id-1",
    }  # fmt: skip


def test_every_error_of_the_tree_is_in_this_table() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(each for child in kind.__subclasses__() for each in below(child))}

    named = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HubError)}
    others = {each for each in below(HubError) if each.__module__ != errors.__name__}
    assert below(HubError) - others == named
    assert len(named) == 16
    assert {each.code for each in others} <= {each.code for each in named}  # a kind of their own, no code of their own


def test_an_error_may_say_more_than_its_kind() -> None:
    error = NotFound("no miner m1", code="no_miner")
    assert (str(error), error.detail, error.code, NotFound.code) == (
        "no miner m1",
        "no miner m1",
        "no_miner",
        "not_found",
    )


def test_field_errors_are_listed() -> None:
    error = ValidationFailed(errors=[FieldError("a.b", "x", "wrong"), FieldError("", "x", "no object")])
    assert problem(error, "r")["errors"] == [
        {"field": "a.b", "code": "x", "detail": "wrong"}, {"field": "", "code": "x", "detail": "no object"},
    ]  # fmt: skip
    assert (error.code, error.detail) == ("x", "a.b: wrong; no object")


def test_the_detail_names_three_fields_and_counts_the_rest() -> None:
    error = ValidationFailed(errors=[FieldError(f"f{i}", f"c{i}", "wrong") for i in range(5)])
    assert (error.code, error.detail) == ("validation_failed", "f0: wrong; f1: wrong; f2: wrong; and 2 more")


def test_a_code_that_is_given_wins_over_that_of_the_fields() -> None:
    assert ValidationFailed(code="mine", errors=[FieldError("a", "x", "wrong")]).code == "mine"


def test_errors_tell_what_to_do_in_headers() -> None:
    assert Unauthorized().headers == {"WWW-Authenticate": 'Bearer realm="pool-hub"'}
    assert Unauthorized(scheme="X-Admin-Secret").headers == {"WWW-Authenticate": 'X-Admin-Secret realm="pool-hub"'}
    assert TooManyRequests(retry_after_sec=7).headers == {"Retry-After": "7"}
    assert TooManyRequests(retry_after_sec=0).headers == {"Retry-After": "1"}
    assert Unavailable(retry_after_sec=3).headers == {"Retry-After": "3"}
