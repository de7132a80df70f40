"""The embedded hub's server: daphne, with what production has from other parts.

Beyond stock daphne: a socket whose messages pile up is no longer read until they are worked off (daphne alone has no
back-pressure); a client cannot set the root path by a header; and a stop is graceful. It takes no new connections,
tells every miner to come back later (4012), lets requests under way finish, and only then lets the reactor end.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, MutableMapping
from time import monotonic
from typing import Any

from daphne.server import Server
from twisted.internet import reactor

from miners import connections

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


class HubServer(Server):  # type: ignore[misc]  # daphne has no types
    connections: dict[Any, Message]

    def __init__(self, application: Any, *, endpoint: str, ready: Callable[[], None]) -> None:
        super().__init__(
            application=application,
            endpoints=[endpoint],
            signal_handlers=False,
            ready_callable=ready,
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            websocket_max_frame_size=MAX_MESSAGE_BYTES,
            server_name="pool-hub",
        )
        self.failed = False

    def create_application(self, protocol: Any, scope: Message) -> asyncio.Queue[Message] | None:
        scope["root_path"] = ""
        if scope["type"] != "websocket":
            queue: asyncio.Queue[Message] | None = super().create_application(protocol, scope)
            return queue
        slowing = SlowingQueue(protocol.transport)
        running = self.application(scope, slowing.get, lambda message: self.handle_reply(protocol, message))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return slowing

    def run(self) -> None:
        loop = reactor._asyncioEventloop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin_stop)
        super().run()

    def listen_error(self, failure: Any) -> None:
        self.failed = True
        logger.critical("the hub cannot listen: %s", failure.getErrorMessage())
        self.stop()

    def _begin_stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            reactor._asyncioEventloop.remove_signal_handler(number)
        for listener in self.listeners:
            listener.addCallback(lambda port: port.stopListening())
        connections.end_all()
        self._stop_when_idle(monotonic() + STOP_LIMIT_S)

    def _stop_when_idle(self, until: float) -> None:
        working = [each for each in self.connections.values() if not _is_done(each)]
        if working and monotonic() < until:
            reactor.callLater(STOP_STEP_S, self._stop_when_idle, until)  # type: ignore[arg-type]  # a float is seconds
            return
        if working:
            logger.warning("%d connections did not end within %.0f s and are cut off", len(working), STOP_LIMIT_S)
        # an idle connection has no application, which daphne's own stop does not expect
        self.connections = {key: each for key, each in self.connections.items() if "application_instance" in each}
        self.stop()


def _is_done(connection: Message) -> bool:
    running = connection.get("application_instance")
    return running is None or running.done()


def endpoint_of(host: str, port: int) -> str:
    """Twisted's words for where to listen; colons of an IPv6 address are escaped."""
    quoted = host.strip("[]").replace(":", r"\:")
    return f"tcp:port={port}:interface={quoted}"
