"""The table of round-trip times between regions."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.decorators import action

from access.audited import Audited
from miners.admin.forms import RoundTripForm
from miners.admin.region_file import RoundTripFileForm
from miners.admin.shared import author_of
from miners.models import RoundTrip
from miners.regions.table import round_trip_remove, round_trip_set, round_trips_import
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
    actions_list: ClassVar[Any] = ("import_csv",)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perms(("miners.add_roundtrip", "miners.change_roundtrip"))

    @action(description="Import CSV", url_path="import", permissions=["import"])  # type: ignore[untyped-decorator]
    def import_csv(self, request: HttpRequest) -> HttpResponse:
        """Shown first. The text comes back with the confirmation, so that any process may be asked; one that was
        changed since it was shown is shown again."""
        form = RoundTripFileForm(request.POST or None, request.FILES or None)
        changes, shown = None, ""
        if request.method == "POST" and form.is_valid():
            shown = form.cleaned_data["digest"]
            confirmed = request.POST.get("confirmed") == shown
            changes = round_trips_import(form.cleaned_data["values"], dry_run=not confirmed)
            if confirmed:
                number = len(changes)
                told = f"{number} round trip{'' if number == 1 else 's'} set."
                self.message_user(request, told, messages.SUCCESS)
                return HttpResponseRedirect(self.list_url())
            form = RoundTripFileForm(initial={"text": form.cleaned_data["text"]})
        context = {
            **self.admin_site.each_context(request),
            "title": "Import round trips",
            "opts": self.opts,
            "form": form,
            "changes": changes,
            "shown": shown,
            "list_url": self.list_url(),
        }
        return TemplateResponse(request, "miners/admin/import_regions.html", context)

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
