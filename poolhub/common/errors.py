"""One error tree and one shape: every refusal is a ``HubError`` and leaves as RFC 9457 problem+json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    field: str
    code: str
    detail: str


class HubError(Exception):
    status: int = 500
    code: str = "internal_error"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail or f"{self.title}."
        self.code = code or self.code
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase


class MalformedJSON(HubError):
    status, code = 400, "malformed_json"


class BadRequest(HubError):
    status, code = 400, "bad_request"


class Unauthorized(HubError):
    status, code = 401, "unauthorized"

    def __init__(self, detail: str = "", *, scheme: str = "Bearer", code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": f'{scheme} realm="pool-hub"'})


class Forbidden(HubError):
    status, code = 403, "forbidden"


class NotFound(HubError):
    status, code = 404, "not_found"


class MethodNotAllowed(HubError):
    status, code = 405, "method_not_allowed"


class Conflict(HubError):
    status, code = 409, "conflict"


class LengthRequired(HubError):
    status, code = 411, "length_required"


class BodyTooLarge(HubError):
    status, code = 413, "body_too_large"


class UnsupportedMediaType(HubError):
    status, code = 415, "unsupported_media_type"


class ValidationFailed(HubError):
    """422. The code is the field errors' own where they all agree, so that a client can act on it."""

    status, code = 422, "validation_failed"

    def __init__(self, detail: str = "", *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        codes = {error.code for error in errors}
        agreed = codes.pop() if len(codes) == 1 else None
        listed = "; ".join(f"{error.field}: {error.detail}" if error.field else error.detail for error in errors[:3])
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        super().__init__(detail or listed + more, code=code or agreed, errors=errors)


class TooManyRequests(HubError):
    status, code = 429, "too_many_requests"

    def __init__(self, detail: str = "", *, retry_after_sec: int = 1, code: str | None = None) -> None:
        self.retry_after_sec = max(1, retry_after_sec)
        super().__init__(detail, code=code, headers={"Retry-After": str(self.retry_after_sec)})


class Unavailable(HubError):
    status, code = 503, "unavailable"

    def __init__(self, detail: str = "", *, retry_after_sec: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after_sec)})


class Overloaded(Unavailable):
    """Nothing of the request was begun."""

    code = "overloaded"


class NotConfigured(HubError):
    status, code = 503, "not_configured"


def problem(error: HubError, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = [{"field": e.field, "code": e.code, "detail": e.detail} for e in error.errors]
    body["request_id"] = request_id
    return body
