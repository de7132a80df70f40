"""What every WebSocket of the hub has in common."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from structlog.contextvars import bind_contextvars

from poolhub.common.requestid import HEADER, request_id_from

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]

REQUEST_ID = HEADER.lower().encode()
UNKNOWN_PATH = 4404


class HubSocket(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """One socket. Its messages are taken in their order, each done with before the next is read, so that a server with
    back-pressure slows the sender down.

    `dispatch` is our own: the stock one goes to a thread and back for every message, to close database connections
    that nothing here opens. The channel layer is left out: what is pushed comes through the socket's own loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed = False  # the hub's word: nothing more is sent or applied
        self._gone = False  # the socket's: nothing more comes

    async def connected(self) -> None:
        """The socket has been accepted. It always is: before that, a server can only answer 403 and a code is lost."""

    async def received(self, data: bytes, *, binary: bool) -> None:
        """One message, while the socket is open."""

    def left(self) -> None:
        """The socket is over, however it ended."""

    async def tell(self, message: bytes) -> None:
        """One text frame; nothing where the socket is closed. Raises OSError where the peer was quicker."""
        if not self.closed:
            await self.send({"type": "websocket.send", "text": message.decode()})

    async def close(self, code: int) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            await self.send({"type": "websocket.close", "code": code})
        except OSError:
            logger.debug("a socket had gone before it was closed with %d", code)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.scope, self.base_send = scope, send
        bind_contextvars(request_id=request_id_from(header_of(scope, REQUEST_ID)))  # for good: the task is the socket's
        try:
            while not self._gone:
                await self.dispatch(await receive())
        finally:
            self.closed = True
            self.left()

    async def dispatch(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.receive":
            if not self.closed:
                text = message.get("text")
                data = (message.get("bytes") or b"") if text is None else text.encode("utf-8", "surrogatepass")
                await self.received(data, binary=text is None)
        elif kind == "websocket.connect":
            await self.send({"type": "websocket.accept"})
            await self.connected()
        elif kind == "websocket.disconnect":
            self._gone = True


def header_of(scope: Message, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for each, value in headers if each == name), None)


class UnknownPath(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """Any path that is no socket's. Accepted first: before that, a server answers 403 and the code is lost."""

    async def websocket_connect(self, message: MutableMapping[str, Any]) -> None:
        await self.send({"type": "websocket.accept"})
        await self.send({"type": "websocket.close", "code": UNKNOWN_PATH})

    async def websocket_receive(self, message: MutableMapping[str, Any]) -> None:
        """What was under way when the socket was closed."""

    async def websocket_disconnect(self, message: MutableMapping[str, Any]) -> None:
        raise StopConsumer
