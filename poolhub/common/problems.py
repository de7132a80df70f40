"""Where errors become HTTP answers: the DRF exception handler and Django's four error views."""

import logging
from typing import Any

from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from psycopg_pool import PoolTimeout
from rest_framework import exceptions as drf

from poolhub.common.codec import encode
from poolhub.common.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    HubError,
    MalformedJSON,
    MethodNotAllowed,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    problem,
)
from poolhub.common.requestid import request_id_of

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


def problem_response(error: HubError, request_id: str) -> HttpResponse:
    response = HttpResponse(
        encode(problem(error, request_id)), status=error.status, content_type=PROBLEM_JSON, headers=error.headers
    )
    return told(response) if error.status == Unavailable.status else response


def told(response: HttpResponse) -> HttpResponse:
    """One that Django need not log as an error of the hub: whoever has made it has told why."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def from_exception(exc: BaseException) -> HubError | None:  # noqa: C901, PLR0911, PLR0912 - one table
    """Ours for what the frameworks raise; None for what nobody foresaw."""
    match exc:
        case HubError():
            return exc
        case Http404() | drf.NotFound():
            return NotFound("There is nothing at this address.")
        case drf.MethodNotAllowed():
            return MethodNotAllowed(str(exc.detail))
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return Unauthorized("Credentials are missing or wrong.")
        case PermissionDenied() | drf.PermissionDenied():
            return Forbidden("This caller may not do that.")
        case drf.UnsupportedMediaType():
            return UnsupportedMediaType("The body must be application/json.")
        case drf.ParseError():
            return MalformedJSON(str(exc.detail))
        case drf.Throttled():
            return TooManyRequests(retry_after_sec=int(getattr(exc, "wait", None) or 1))
        case drf.ValidationError():
            return ValidationFailed(str(exc.detail))
        case drf.APIException():
            return from_status(exc.status_code)
        case RequestDataTooBig():
            return BodyTooLarge("The body is larger than MAX_BODY_BYTES.")
        case UnreadablePostError():
            return BadRequest("The body ended early.")
        case DisallowedHost():
            return BadRequest("The Host header names no host of this hub.", code="disallowed_host")
        case SuspiciousOperation():
            return BadRequest("The request was refused.")
        case PoolTimeout() | OperationalError() | InterfaceError():
            return Unavailable("The database does not answer. Try again.")
        case _:
            return None


def from_status(status: int) -> HubError:
    """Ours for an answer of which only the status is known."""
    kinds = (BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, UnsupportedMediaType, Unavailable)
    error = next((kind for kind in kinds if kind.status == status), HubError)()
    if error.status != status:
        error.status, error.code = status, "error"
        error.detail = f"{error.title}."
    return error


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """For DRF. An unforeseen exception goes on to Django, which logs it and asks ``server_error``."""
    error = from_exception(exc)
    if error is None:
        return None
    request = context["request"]
    if error.status == Unavailable.status:
        logger.warning("%s %s answered 503: %s", request.method, request.path, exc)
    return problem_response(error, request_id_of(request))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = from_exception(exception) or BadRequest("The request was refused.")
    return problem_response(error, request_id_of(request))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(Forbidden("This caller may not do that."), request_id_of(request))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    error = Forbidden(f"The CSRF check failed. {reason}".strip(), code="csrf_failed")
    return problem_response(error, request_id_of(request))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(NotFound("There is nothing at this address."), request_id_of(request))


def server_error(request: HttpRequest) -> HttpResponse:
    return problem_response(
        HubError("The hub failed. The request id finds the reason in its log."), request_id_of(request)
    )
