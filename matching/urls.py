from django.urls import re_path

from matching.parameters import RESERVATION_ID_PATTERN
from matching.views import MatchViewSet, ReservationViewSet, StandingViewSet

RESERVATION = rf"(?P<reservation_id>{RESERVATION_ID_PATTERN})"

urlpatterns = [
    re_path(r"^v1/match/?\Z", MatchViewSet.as_view({"post": "match"})),
    re_path(r"^v1/match/batch/?\Z", MatchViewSet.as_view({"post": "batch"})),
    re_path(r"^v1/match/why-not/?\Z", MatchViewSet.as_view({"post": "why_not"})),
    re_path(r"^v1/miners/standing/?\Z", StandingViewSet.as_view({"get": "standing"})),
    re_path(r"^v1/reservations/?\Z", ReservationViewSet.as_view({"get": "list"})),
    re_path(rf"^v1/reservations/{RESERVATION}/?\Z", ReservationViewSet.as_view({"delete": "release"})),
    re_path(rf"^v1/reservations/{RESERVATION}/renew/?\Z", ReservationViewSet.as_view({"post": "renew"})),
]
