"""Every WebSocket route. No origin check here: miners and coordinators send none; what they prove is in a header."""

from channels.routing import URLRouter
from django.urls import re_path

from matching.routing import websocket_urlpatterns as match_sockets
from miners.routing import websocket_urlpatterns as miner_sockets
from poolhub.common.sockets import UnknownPath

sockets = URLRouter([*miner_sockets, *match_sockets, re_path("", UnknownPath.as_asgi())])
