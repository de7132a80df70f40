"""The hub's application with one more route beside its own: a consumer that does nothing but acknowledge."""

from poolhub.asgi import http  # first: it sets up the apps

# isort: split
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from benchmarks.sockets.frames import EMPTY, EMPTY_ACK
from miners.routing import websocket_urlpatterns
from poolhub.common.sockets import HubSocket
from poolhub.process import Lifespan

ACK = EMPTY_ACK.encode()


class EmptyConsumer(HubSocket):
    """The hub's own dispatch with nothing behind it: what the server itself costs."""

    async def received(self, data: bytes, *, binary: bool) -> None:
        await self.tell(ACK)


sockets = URLRouter([*websocket_urlpatterns, path(EMPTY.lstrip("/"), EmptyConsumer.as_asgi())])
application = ProtocolTypeRouter({"http": http, "websocket": sockets, "lifespan": Lifespan()})
