"""Manifests as they were accepted. Nothing of them changes but that an operator may revoke one."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from access.audit import MAX_REASON
from access.audited import Audited
from miners.admin.acting import act_on_each, chosen
from miners.admin.shared import author_of
from miners.choices import ManifestEnd
from miners.models import Manifest
from miners.services.manifests import in_force, manifest_revoke
from poolhub.common import clock
from poolhub.common.admin import NO_VALUE, CappedPaginator, HubAdmin, ReadOnlyAdmin, json_column, text_column

IN_FORCE = "in force"


class StandingFilter(admin.SimpleListFilter):
    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in (IN_FORCE, "revoked", "expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Manifest]) -> QuerySet[Manifest]:
        match self.value():
            case "in force":
                return queryset.filter(in_force())
            case "revoked":
                return queryset.filter(ended_by=ManifestEnd.REVOKED)
            case "expired":
                now = clock.to_datetime(clock.now())
                return queryset.filter(expires_at__lte=now).exclude(ended_by=ManifestEnd.REVOKED)
        return queryset


@admin.display(description="miner", ordering="miner__miner_id")
def miner_of(manifest: Manifest) -> str:
    if manifest.miner is None:
        return "removed"
    url = reverse("admin:miners_miner_change", args=[manifest.miner.pk])
    return format_html('<a href="{}">{}</a>', url, manifest.miner.miner_id)


@admin.display(description="standing")
def standing(manifest: Manifest) -> str:
    if manifest.ended_by == ManifestEnd.REVOKED:
        return "revoked"
    if manifest.expires_at <= clock.to_datetime(clock.now()):
        return "expired"
    if manifest.miner is None:
        return NO_VALUE
    return "replaced" if manifest.ended_at else IN_FORCE


READ: Any = (
    miner_of, standing, "issuer", text_column("jti"), json_column("values", "attests"), "issued_at", "received_at",
    "expires_at", "ended_at", text_column("token"),
)  # fmt: skip


@admin.register(Manifest)
class ManifestAdmin(Audited, ReadOnlyAdmin):
    list_display = (text_column("jti"), miner_of, standing, "issuer", "issued_at", "expires_at")
    list_display_links = ("jti",)
    list_filter = (StandingFilter, "issuer")
    list_select_related = ("miner", "issuer")
    search_fields = ("miner__miner_id", "jti")
    search_help_text = "A part of the miner's id or of jti."
    ordering = ("-id",)
    paginator = CappedPaginator
    fields = readonly_fields = READ
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.change_manifest")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Manifest]) -> HttpResponse | None:
        """It holds from the next match on, and the same manifest is not taken again."""
        manifests = queryset.select_related("miner", "issuer")
        if "confirmed" not in request.POST:
            return revoke_ask(self, request, "revoke", chosen(self, request, manifests))
        act_on_each(self, request, manifests, done="revoked", act=lambda each: manifest_revoke(manifest=each))
        return None


def revoke_ask(
    page: HubAdmin, request: HttpRequest, action: str, objects: Sequence[Model], number: int | None = None
) -> HttpResponse | None:
    """A page that says how many manifests would be revoked, and takes a reason. number: where it is not of objects."""
    if not objects:
        return None
    context = {
        **page.admin_site.each_context(request),
        "title": page.get_actions(request)[action][2],
        "opts": page.opts,
        "action": action,
        "objects": objects,
        "number": len(objects) if number is None else number,
        "max_reason": MAX_REASON,
        "list_url": page.list_url(),
        "page": request.POST.get("_page", ""),
    }
    return TemplateResponse(request, "miners/admin/revoke.html", context)
