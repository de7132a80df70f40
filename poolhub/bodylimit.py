"""Bodies that are too large, or whose size nobody names, are refused before a byte of them is read.

Django looks at a body's size only once a view asks for it; by then an ASGI server's chunks lie on the disk, and a WSGI
server's chunked body reads as an empty one.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from django.conf import settings

from poolhub.common.codec import encode
from poolhub.common.errors import BodyTooLarge, HubError, LengthRequired, problem
from poolhub.common.problems import PROBLEM_JSON
from poolhub.common.requestid import HEADER, request_id_from

MAX_DIGITS = 18  # int() refuses thousands of them with an error
CHUNK = 64 * 1024

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def refusal(length: str, transfer_encoding: str) -> HubError | None:
    """The error for a body by what its headers say, None where it may be read."""
    if transfer_encoding:
        return LengthRequired("A body needs a Content-Length; chunks without one are not read.")
    if length.isascii() and length.isdigit() and (len(length) > MAX_DIGITS or int(length) > settings.MAX_BODY_BYTES):
        return BodyTooLarge(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.")
    return None


class LimitedASGI:
    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        named = {name: value.decode("latin-1") for name, value in scope["headers"]}
        error = refusal(named.get(b"content-length", ""), named.get(b"transfer-encoding", ""))
        if error is None:
            await self.application(scope, receive, send)
            return
        request_id = request_id_from(named.get(HEADER.lower().encode()))
        body = encode(problem(error, request_id))
        headers = [(name.encode(), value.encode()) for name, value in refusal_headers(error, request_id, len(body))]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class LimitedWSGI:
    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        error = refusal(environ.get("CONTENT_LENGTH") or "", environ.get("HTTP_TRANSFER_ENCODING") or "")
        if error is None:
            answer = self.application(environ, start_response)
            if environ.get("wsgi.input_terminated"):
                read_to_its_end(environ["wsgi.input"])
            return answer
        request_id = request_id_from(environ.get("HTTP_X_REQUEST_ID"))
        body = encode(problem(error, request_id))
        start_response(f"{error.status} {error.title}", refusal_headers(error, request_id, len(body)))
        return [body]


def read_to_its_end(body: Any) -> None:
    """With a part of it unread the server would cut the connection, and a proxy would lose the answer."""
    while body.read(CHUNK):
        pass


def refusal_headers(error: HubError, request_id: str, length: int) -> list[tuple[str, str]]:
    return [
        ("Content-Type", PROBLEM_JSON),
        ("Content-Length", str(length)),
        (HEADER, request_id),
        ("Connection", "close"),
        *error.headers.items(),
    ]
