"""Miners: the operator's own decisions can be edited; what a miner claims and what the hub keeps is shown."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from miners.admin import live
from miners.admin.actions import MinerActions, command_send
from miners.admin.changelist import MinerChangeList
from miners.admin.filters import (
    CapabilityFilter,
    GpuFilter,
    PriceFilter,
    ProtoFilter,
    RegionFilter,
    StateFilter,
    TrustFilter,
)
from miners.admin.forms import MinerForm
from miners.admin.panels import panels_of
from miners.choices import CommandName
from miners.models import Miner
from miners.registry.choosing import Choice, choose
from miners.registry.runtime import get_registry
from miners.services.operators import miner_create, miner_disable, miner_enable, miner_remove
from poolhub.common import clock
from poolhub.common.admin import NO_VALUE, CappedPaginator, json_column, text_column

MAX_FOUND = 200
ADDED = ("miner_id", "disabled", "operator_drain", "price_cap")
ADDR, GPU_NAME, REGION = text_column("addr", "address"), text_column("gpu_name", "GPU"), text_column("region")
CLAIMED = (
    ADDR, "proto", GPU_NAME, "gpu_vram", "gpu_count", "cpu_cores", "ram_gb", "price", "max_parallel", REGION,
    json_column("accel", "accelerators"), json_column("capabilities"), text_column("wallet_address"), "draining",
)  # fmt: skip


@admin.display(description="API key")
def has_key(miner: Miner) -> str:
    return "issued" if miner.api_key_hash else NO_VALUE


KEPT = (
    has_key, "registered_at", "created_at", "latency_mean", "latency_count", "trust_s", "trust_f", "trust_at",
    "version",
)  # fmt: skip


@admin.register(Miner)
class MinerAdmin(MinerActions):
    form = MinerForm
    change_form_template = "miners/admin/miner.html"
    list_display: Any = (
        "miner_id", live.state, live.heard, GPU_NAME, REGION, live.load, live.temperature, live.effective_price,
        live.market, live.trust,
    )  # fmt: skip
    list_filter = (StateFilter, RegionFilter, GpuFilter, CapabilityFilter, PriceFilter, TrustFilter, ProtoFilter)
    list_filter_submit = True
    sortable_by: ClassVar[Any] = (
        "miner_id", live.state, live.heard, live.load, live.temperature, live.effective_price, live.trust,
    )  # fmt: skip
    search_fields = ("miner_id",)
    search_help_text = "A part of the id, the address, the GPU's name or the region."
    ordering = ("miner_id",)
    paginator = CappedPaginator

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[MinerChangeList]:
        return MinerChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Miner], search_term: str
    ) -> tuple[QuerySet[Miner], bool]:
        """For fields that choose a miner; the list searches by itself."""
        if not search_term.strip():
            return queryset, False
        found = choose(get_registry(), Choice(text=search_term.strip()), now=clock.now())
        return queryset.filter(pk__in=found[:MAX_FOUND].tolist()), False

    def get_fieldsets(self, request: HttpRequest, obj: Miner | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ADDED, "description": "Its API key is shown once, when it is saved."})]
        return [
            (None, {"fields": (*ADDED, "tags", "reason")}),
            ("Claimed by the miner", {"fields": CLAIMED}),
            ("Kept by the hub", {"fields": KEPT}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Miner | None = None) -> Any:
        return () if obj is None else ("miner_id", *CLAIMED, *KEPT)

    def render_change_form(
        self, request: HttpRequest, context: Any, add: bool = False, change: bool = False, form_url: str = "",
        obj: Any | None = None,
    ) -> Any:  # fmt: skip
        if obj is not None and not context["is_popup"]:
            context["panels"] = panels_of(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: Miner, form: MinerForm, change: bool) -> None:
        given = form.cleaned_data
        if not change:
            profile = {name: given[name] for name in ADDED if name != "miner_id"}
            made, api_key = miner_create(miner_id=obj.miner_id, profile=profile)
            obj.pk = made.pk
            request.api_key = api_key  # type: ignore[attr-defined]  # for response_add, and gone with the request
            return
        for name in form.changed_data:
            self._decide(request, obj, name, given[name])

    def _decide(self, request: HttpRequest, miner: Miner, name: str, value: Any) -> None:
        match name:
            case "disabled":
                (miner_disable if value else miner_enable)(miner_id=miner.miner_id)
            case "operator_drain":
                command_send(request, miner, CommandName.DRAIN if value else CommandName.RESUME)
            case "price_cap":
                command_send(request, miner, CommandName.SET_PRICE_CAP, {} if value is None else {"price": value})
            case "tags":
                command_send(request, miner, CommandName.UPDATE_TAGS, {"tags": value})

    def response_add(self, request: HttpRequest, obj: Miner, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_keys(request, [(obj.miner_id, request.api_key)])  # type: ignore[attr-defined]

    def get_deleted_objects(self, objs: QuerySet[Miner] | Sequence[Miner], request: HttpRequest) -> Any:
        """Counted, not listed: a miner may have more feedback than a page can show."""
        counts = {Miner._meta.verbose_name_plural: len(objs)}
        for relation in Miner._meta.related_objects:
            if relation.on_delete is models.SET_NULL:
                continue  # these stay
            related: Any = relation.related_model
            number = related._base_manager.filter(**{f"{relation.field.name}__in": objs}).count()
            if number:
                counts[related._meta.verbose_name_plural] = number
        perms_needed = set() if self.has_delete_permission(request) else {Miner._meta.verbose_name}
        return [str(miner) for miner in objs], counts, perms_needed, []

    def delete_model(self, request: HttpRequest, obj: Miner) -> None:
        miner_remove(miner_id=obj.miner_id)
