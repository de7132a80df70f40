"""The table of round-trip times between regions."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from access.audited import Audited
from miners.admin.forms import RoundTripForm
from miners.models import RoundTrip
from miners.regions.table import round_trip_remove, round_trip_set
from poolhub.common.admin import HubAdmin, text_column

REGION, OTHER = text_column("region"), text_column("other", "other region")


@admin.display(description="counts in a match as", ordering="rtt_ms")
def counts(pair: RoundTrip) -> str:
    return "unknown" if pair.rtt_ms is None else f"{pair.rtt_ms:.1f} ms"


@admin.display(description="operator's value", ordering="operator_ms")
def operators(pair: RoundTrip) -> str:
    return "none" if pair.operator_ms is None else f"{pair.operator_ms:g} ms"


@admin.display(description="miners that measured it", ordering="miners")
def measured_by(pair: RoundTrip) -> int:
    return pair.miners


@admin.register(RoundTrip)
class RoundTripAdmin(Audited, HubAdmin):
    form = RoundTripForm
    list_display: Any = (REGION, OTHER, counts, operators, measured_by)
    list_display_links = (REGION, OTHER)
    search_fields = ("region", "other")
    search_help_text = "A part of a region's name."
    ordering = ("region", "other")

    def get_fields(self, request: HttpRequest, obj: RoundTrip | None = None) -> Any:
        if obj is None:
            return ("region", "other", "operator_ms")
        return (REGION, OTHER, "operator_ms", counts, measured_by)

    def get_readonly_fields(self, request: HttpRequest, obj: RoundTrip | None = None) -> Any:
        return () if obj is None else (REGION, OTHER, counts, measured_by)

    def save_model(self, request: HttpRequest, obj: RoundTrip, form: Any, change: bool) -> None:
        made = round_trip_set(region=obj.region, other=obj.other, operator_ms=obj.operator_ms)
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: RoundTrip) -> None:
        round_trip_remove(row=obj)
