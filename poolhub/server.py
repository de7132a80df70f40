"""The embedded hub's server: daphne, with what production has from other parts.

Beyond stock daphne, which has no back-pressure: a socket whose messages pile up is no longer read until they are worked
off, and one whose peer reads too slowly makes its consumer wait. A client cannot set the root path by a header. And a
stop is graceful: it takes no new connections, tells every miner to come back later (4012), lets requests under way
finish, and only then lets the reactor end.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, MutableMapping
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor

from miners import connections
from poolhub.channel import HubChannel, HubFactory

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]

MAX_WAITING, RESUME_AT = 64, 16  # messages of one socket
MAX_MESSAGE_BYTES = 65_536  # the consumer refuses far shorter ones with a code of its own
STOP_LIMIT_S = 10.0
STOP_STEP_S = 0.05


class SlowingQueue(asyncio.Queue[Message]):
    """What a socket has sent and its consumer has not read. Above MAX_WAITING the transport stops reading."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport
        self._paused = False

    def put_nowait(self, item: Message) -> None:
        super().put_nowait(item)
        if not self._paused and self.qsize() >= MAX_WAITING:
            self._paused = True
            self._transport.pauseProducing()

    def get_nowait(self) -> Message:
        item = super().get_nowait()
        if self._paused and self.qsize() <= RESUME_AT:
            self._paused = False
            self._transport.resumeProducing()
        return item


class Outlet:
    """Where a socket's answers leave: a push producer that the transport pauses while its peer reads too slowly."""

    def __init__(self, transport: Any) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._transport = transport
        transport.unregisterProducer()  # the HTTP channel that the socket came from
        transport.registerProducer(self, True)

    async def wait(self) -> None:
        await self._open.wait()

    def release(self) -> None:
        """Before the close: a paused producer would keep the transport from it."""
        self._transport.unregisterProducer()
        self._open.set()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._open.set()


class HubSocket(WebSocketProtocol):  # type: ignore[misc]
    """Ends with a close frame where the stock one drops the connection."""

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        self._fail_connection(connections.TOO_LARGE, reason)


class HubServer(Server):  # type: ignore[misc]  # daphne has no types
    connections: dict[Any, Message]

    def __init__(self, application: Any, *, endpoint: str, ready: Callable[[int], None]) -> None:
        """``ready`` is told the port, once the hub listens on it."""
        super().__init__(
            application=application,
            endpoints=[endpoint],
            signal_handlers=False,
            ready_callable=lambda: ready(self.listening_addresses[0][1]),
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            websocket_max_frame_size=MAX_MESSAGE_BYTES,
            server_name="pool-hub",
        )
        self.ports: list[Any] = []
        self.outlets: WeakKeyDictionary[Any, Outlet] = WeakKeyDictionary()  # of sockets
        self.channels: set[HubChannel] = set()  # open connections that are no WebSockets
        self.stopping = False
        self.failure: str | None = None

    @property
    def http_factory(self) -> HubFactory:
        return self._http_factory

    @http_factory.setter
    def http_factory(self, made: Any) -> None:
        self._http_factory = HubFactory(self)  # in the place of the one that daphne's run() makes

    @property
    def ws_factory(self) -> Any:
        return self._ws_factory

    @ws_factory.setter
    def ws_factory(self, made: Any) -> None:
        made.protocol = HubSocket
        made.setProtocolOptions(failByDrop=False)
        self._ws_factory = made

    def create_application(self, protocol: Any, scope: Message) -> asyncio.Queue[Message] | None:
        scope["root_path"] = ""
        if scope["type"] != "websocket":
            queue: asyncio.Queue[Message] | None = super().create_application(protocol, scope)
            return queue
        scope["asgi"] = {"version": "3.0"}
        slowing = SlowingQueue(protocol.transport)
        self.outlets[protocol] = Outlet(protocol.transport)
        running = self.application(scope, slowing.get, lambda message: self.handle_reply(protocol, message))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return slowing

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        outlet = self.outlets.get(protocol)
        if outlet is not None and message["type"] == "websocket.close":
            outlet.release()
        if message["type"] == "http.response.body" and protocol.method == b"HEAD":
            message = {**message, "body": b""}  # daphne leaves out the first part of a body alone
        await super().handle_reply(protocol, message)
        if outlet is not None and message["type"] == "websocket.send":
            await outlet.wait()
        if self.stopping and message["type"] == "websocket.accept":
            protocol.serverClose(code=connections.RESTART)

    def run(self) -> None:
        loop = reactor._asyncioEventloop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin_stop)
        super().run()

    def listen_success(self, port: Any) -> None:
        self.ports.append(port)
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        self.failure = failure.getErrorMessage()
        self.stop()

    def _begin_stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            reactor._asyncioEventloop.remove_signal_handler(number)
        self.stopping = True
        for port in self.ports:
            port.stopListening()
        connections.end_all()
        for each in self.connections:
            if isinstance(each, WebSocketProtocol) and each.state == each.STATE_OPEN:
                each.serverClose(code=connections.RESTART)
        for channel in list(self.channels):
            channel.end_soon()
        self._stop_when_idle(monotonic() + STOP_LIMIT_S)

    def _stop_when_idle(self, until: float) -> None:
        # a channel is open until the last byte of its answer is on its way
        working = len(self.channels) + sum(not _is_done(each) for each in self.connections.values())
        if working and monotonic() < until:
            reactor.callLater(STOP_STEP_S, self._stop_when_idle, until)  # type: ignore[arg-type]  # a float is seconds
            return
        if working:
            logger.warning("connections that did not end within %.0f s are cut off", STOP_LIMIT_S)
        # a connection without a request has no application, which daphne's own stop does not expect
        self.connections = {key: each for key, each in self.connections.items() if "application_instance" in each}
        self.stop()


def _is_done(connection: Message) -> bool:
    running = connection.get("application_instance")
    return running is None or running.done()


def endpoint_of(host: str, port: int) -> str:
    """Twisted's words for where to listen; colons of an IPv6 address are escaped."""
    quoted = host.replace(":", r"\:")
    return f"tcp:port={port}:interface={quoted}"
