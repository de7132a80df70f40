from django.urls import re_path

from matching.consumers import MatchStreamConsumer

websocket_urlpatterns = [re_path(r"^v1/match/stream/?\Z", MatchStreamConsumer.as_asgi())]
