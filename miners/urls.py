from django.urls import re_path

from miners.views import EnrolmentViewSet, MinerViewSet, SessionViewSet

MINER = r"(?P<miner_id>[A-Za-z0-9._:-]{1,64})"

urlpatterns = [
    # before the miner's own page, so that no miner's id hides a route
    re_path(r"^v1/miners/register/?\Z", EnrolmentViewSet.as_view({"post": "register"})),
    re_path(r"^v1/miners/update/?\Z", SessionViewSet.as_view({"post": "update"})),
    re_path(r"^v1/miners/heartbeat/?\Z", SessionViewSet.as_view({"post": "heartbeat"})),
    re_path(r"^v1/miners/lease/renew/?\Z", SessionViewSet.as_view({"get": "renew", "post": "renew"})),
    re_path(r"^v1/miners/logout/?\Z", SessionViewSet.as_view({"post": "logout"})),
    re_path(r"^v1/miners/manifest/?\Z", SessionViewSet.as_view({"post": "manifest"})),
    re_path(r"^v1/miners/?\Z", MinerViewSet.as_view({"get": "list"})),
    re_path(rf"^v1/miners/{MINER}/?\Z", MinerViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^v1/miners/{MINER}/commands/?\Z", MinerViewSet.as_view({"post": "command"})),
]
