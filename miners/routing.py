from django.urls import re_path

from miners.consumers import HeartbeatConsumer

websocket_urlpatterns = [re_path(r"^v1/miners/heartbeat/?\Z", HeartbeatConsumer.as_asgi())]
