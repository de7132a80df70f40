"""HTTP connections of the embedded server: daphne's, with the manners that it lacks.

A body that is too large, or of unknown length, is refused as soon as its headers are there, where daphne would first
write all of it to the disk. A request that is not whole in time ends its connection, however steadily its bytes drip.
What is no HTTP gets a problem too. During a stop, a connection ends with its next answer.
"""

# mypy: disallow-untyped-calls=False
# Twisted's classes have half of their types.

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings
from twisted.internet import reactor
from twisted.web import http

from poolhub.bodylimit import refusal, refusal_headers
from poolhub.common.codec import encode
from poolhub.common.errors import BadRequest, HubError, problem
from poolhub.common.problems import from_status
from poolhub.common.requestid import HEADER, request_id_from

READ_LIMIT_S = 30.0  # for a request to be whole, from its first byte on …
BYTES_PER_S = 16 * 1024  # … and for each so many bytes that a body may have a second more
LINGER_S = 2.0  # what a refused client still sends is thrown away for so long, else it might lose the answer


class HubRequest(WebRequest):  # type: ignore[misc]  # daphne has no types
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, parsePOSTFormSubmission=False)
        self.refused = False
        self._linger: Any = None

    def gotLength(self, length: int | None) -> None:
        error = refusal(self._header("Content-Length"), self._header("Transfer-Encoding"))
        if error is None:
            super().gotLength(length)
        else:
            self._refuse(error)

    def handleContentChunk(self, data: bytes) -> None:
        if not self.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.finish()
        else:
            super().requestReceived(command, path, version)

    def process(self) -> Any:
        done = super().process()
        if self.transport is None:  # a WebSocket has it now
            self.server.channels.discard(self.channel)
        return done

    def handle_reply(self, message: Any) -> None:
        if self.finished or self.channel is None:
            return
        if message["type"] == "http.response.start" and self.server.stopping:
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        super().handle_reply(message)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        error = from_status(status)
        error.detail = f"{body.rstrip('.')}."
        if not self.finished and self.channel is not None:
            self._answer(error)
            self.finish()

    def finish(self) -> None:
        self._stop_lingering()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        self._stop_lingering()
        super().connectionLost(reason)

    # ---- inside

    def _refuse(self, error: HubError) -> None:
        self.refused = True
        self.method, self.uri, self.clientproto = self.channel._command, self.channel._path, self.channel._version
        self.requestHeaders.removeHeader(b"Expect")  # nobody is asked to continue
        self.channel.persistent = False
        self._linger = reactor.callLater(LINGER_S, self.channel.loseConnection)  # type: ignore[arg-type]
        self._answer(error)

    def _answer(self, error: HubError) -> None:
        request_id = request_id_from(self._header(HEADER))
        body = encode(problem(error, request_id))
        headers = [(name.encode(), value.encode()) for name, value in refusal_headers(error, request_id, len(body))]
        self.handle_reply({"type": "http.response.start", "status": error.status, "headers": headers})
        http.Request.write(self, body)

    def _header(self, name: str) -> str:
        return ", ".join(value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(name.encode(), []))

    def _stop_lingering(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()


class HubChannel(http.HTTPChannel):
    factory: Any
    transport: Any
    callLater: Any  # noqa: N815 - Twisted's name
    _deadline: Any = None  # of the request that is being read

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None and not self._handlingRequest:
            limit_s = READ_LIMIT_S + settings.MAX_BODY_BYTES / BYTES_PER_S
            self._deadline = self.callLater(limit_s, self.loseConnection)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        self._stop_waiting()
        super().allContentReceived()

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.server.channels.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._stop_waiting()
        self.factory.server.channels.discard(self)
        super().connectionLost(reason)

    def end_soon(self) -> None:
        """Close, after the answer to the request under way where there is one."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        return bool(super().checkPersistence(request, version)) and not self.factory.server.stopping

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        error, request_id = BadRequest("This is no HTTP that the hub can read."), request_id_from(None)
        body = encode(problem(error, request_id))
        head = [f"HTTP/1.1 {error.status} {error.title}"]
        head += [f"{name}: {value}" for name, value in refusal_headers(error, request_id, len(body))]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.loseConnection()


class HubFactory(HTTPFactory):  # type: ignore[misc]
    def protocol(self) -> HubChannel:
        return HubChannel()

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        channel.requestFactory = HubRequest
        return channel

    def log(self, request: Any) -> None:
        """Twisted would format a line of an access log for each request, which nobody reads."""
