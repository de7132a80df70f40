"""Every WebSocket route. No origin check here: miners send no Origin, and their token is in a header."""

from channels.routing import URLRouter
from django.urls import re_path

from miners.routing import websocket_urlpatterns as miner_sockets
from poolhub.common.sockets import UnknownPath

sockets = URLRouter([*miner_sockets, re_path("", UnknownPath.as_asgi())])
