"""The hub's application with one more route beside its own: a consumer that does nothing but acknowledge."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from poolhub.asgi import http  # first: it sets up the apps

# isort: split
from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from benchmarks.sockets.frames import EMPTY, EMPTY_ACK
from miners.routing import websocket_urlpatterns
from poolhub.process import Lifespan

Message = MutableMapping[str, Any]


class EmptyConsumer(AsyncConsumer):
    """`__call__` and `dispatch` as the hub's own, without anything in between: what the server itself costs."""

    _gone = False

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.scope, self.base_send = scope, send
        while not self._gone:
            await self.dispatch(await receive())

    async def dispatch(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.receive":
            await self.send({"type": "websocket.send", "text": EMPTY_ACK})
        elif kind == "websocket.connect":
            await self.send({"type": "websocket.accept"})
        elif kind == "websocket.disconnect":
            self._gone = True


sockets = URLRouter([*websocket_urlpatterns, path(EMPTY.lstrip("/"), EmptyConsumer.as_asgi())])
application = ProtocolTypeRouter({"http": http, "websocket": sockets, "lifespan": Lifespan()})
