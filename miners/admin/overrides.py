"""Price overrides: set, ended, and otherwise kept as they were. Deleting one is ending it."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.decorators import display

from access.audited import Audited
from miners.admin.acting import act_on_each
from miners.admin.filters import WHEN, WhenFilter
from miners.admin.override_forms import PriceOverrideForm, conflicts_shown, override_of
from miners.admin.override_import import OverrideImportExport
from miners.admin.shared import author_of, miner_link, tokens_text
from miners.models import PriceOverride
from miners.services.operators import price_override_create, price_override_end
from miners.standing import Standing, standing_of
from poolhub.common import clock
from poolhub.common.admin import KeptAdmin, text_column

ADDED = ("miner", "price", "reason", "valid_from", "valid_until")


BADGES = {
    Standing.IN_FORCE: "success", Standing.BEHIND: "warning", Standing.FUTURE: "info", Standing.PAST: "default",
}  # fmt: skip


@display(description="standing", label=BADGES)  # type: ignore[untyped-decorator]
def standing(override: PriceOverride) -> str:
    return standing_of(override, clock.now(), hidden=getattr(override, "hidden", False)).value


@admin.display(description="price", ordering="price")
def price(override: PriceOverride) -> str:
    return tokens_text(override.price)


REASON = text_column("reason")


@admin.register(PriceOverride)
class PriceOverrideAdmin(OverrideImportExport, Audited, KeptAdmin):
    form = PriceOverrideForm
    change_form_template = "miners/admin/override.html"
    autocomplete_fields = ("miner",)
    actions = ("end_now",)
    list_display = (price, miner_link, standing, "valid_from", "valid_until", REASON, "author")
    list_filter = (WhenFilter, "valid_from")
    list_select_related = ("miner", "author")
    search_fields = ("miner__miner_id", "reason", "author__username")
    search_help_text = "A part of the miner's id, the reason or the author's name."
    date_hierarchy = "created_at"
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PriceOverride]:
        in_force = WHEN["in force"](clock.to_datetime(clock.now()))
        newer = PriceOverride.objects.filter(in_force, miner=OuterRef("miner"), id__gt=OuterRef("id"))
        overrides: QuerySet[PriceOverride] = super().get_queryset(request)
        return overrides.annotate(hidden=Exists(newer))

    def get_fields(self, request: HttpRequest, obj: PriceOverride | None = None) -> Any:
        if obj is None:
            return ADDED
        return (miner_link, price, standing, REASON, "valid_from", "valid_until", "author", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: PriceOverride | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_end_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.change_priceoverride") or self.has_delete_permission(request)

    @admin.action(description="End now", permissions=["end"])
    def end_now(self, request: HttpRequest, queryset: QuerySet[PriceOverride]) -> None:
        act_on_each(self, request, queryset, done="ended", act=lambda each: price_override_end(override=each))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Of an address; times are two fields each, which no address fills in."""
        given = super().get_changeform_initial_data(request)
        return {name: given[name] for name in ("miner", "price", "reason") if name in given}

    def save_model(self, request: HttpRequest, obj: PriceOverride, form: PriceOverrideForm, change: bool) -> None:
        made = price_override_create(
            miner_id=obj.miner.miner_id, author=author_of(request), seen=form.seen_pks(), **override_of(form)
        )
        obj.pk = made.pk

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **options: Any) -> Any:
        context["show_delete"] = False  # "End now" says what it would do
        form = context["adminform"].form
        if isinstance(form, PriceOverrideForm):
            context |= conflicts_shown(form)
        return super().render_change_form(request, context, *args, **options)

    def delete_model(self, request: HttpRequest, obj: PriceOverride) -> None:
        price_override_end(override=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PriceOverride]) -> None:
        for override in queryset:
            price_override_end(override=override)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        told = "has ended, and stays here" if PriceOverride.objects.filter(pk=obj_id).exists() else "never began"
        self.message_user(request, f"The price override {obj_display} {told}.", messages.SUCCESS)
        return HttpResponseRedirect(self.list_url())
