"""Issuers of manifests: whom the hub believes about the machines of miners."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from access.audited import AuditedForms
from miners.admin.issuer_forms import FROM_FORM, IssuerForm, TokenForm
from miners.admin.manifests import revoke_ask
from miners.admin.shared import author_of
from miners.manifests.reasons import Refused
from miners.models import Manifest, ManifestIssuer
from miners.services.issuers import issuer_fetch_soon, issuer_save
from miners.services.manifests import in_force, manifest_try, manifests_revoke_of
from poolhub.common import clock
from poolhub.common.admin import NO_VALUE, shown_json, shown_text, text_column


@admin.display(description="keys")
def keys_of(issuer: ManifestIssuer) -> str:
    kids = [str(key.get("kid", "without a name")) for key in issuer.jwks.get("keys", [])]
    return shown_text(", ".join(kids)) if kids else "none yet"


@admin.display(description="where from")
def keys_from(issuer: ManifestIssuer) -> str:
    return shown_text(issuer.jwks_url) if issuer.jwks_url else "pasted"


@admin.display(description="keys as they are in force")
def keys_shown(issuer: ManifestIssuer) -> str:
    return shown_json(issuer.jwks) if issuer.jwks else NO_VALUE


@admin.display(description="more")
def elsewhere(issuer: ManifestIssuer) -> str:
    links = (
        f"{reverse('admin:miners_manifest_changelist')}?issuer__id__exact={issuer.pk}",
        reverse("admin:miners_manifestissuer_try", args=[issuer.pk]),
    )
    return format_html('<a href="{}">its manifests</a> · <a href="{}">try a manifest</a>', *links)


FETCHED = (keys_shown, "fetched_at", "fetch_due_at", text_column("fetch_error"))


@admin.register(ManifestIssuer)
class ManifestIssuerAdmin(AuditedForms):
    form = IssuerForm
    list_display = (
        "name",
        text_column("issuer"),
        "enabled",
        keys_of,
        keys_from,
        "fetched_at",
        text_column("fetch_error"),
    )
    list_filter = ("enabled",)
    search_fields = ("name", "issuer")
    search_help_text = "A part of the name or of iss."
    ordering = ("name",)
    actions = ("fetch_now", "revoke_all")

    def get_fieldsets(self, request: HttpRequest, obj: ManifestIssuer | None = None) -> Any:
        return [
            (None, {"fields": ("name", "issuer", "enabled", *((elsewhere,) if obj else ()))}),
            ("Keys", {"fields": ("jwks", "jwks_url", "refresh_s", *(FETCHED if obj else ()))}),
            ("Its manifests", {"fields": ("algorithms", "leeway_s", "max_lifetime_s", "audience")}),
            ("What they say", {"fields": ("subject_claim", "subject_form", "mapping", "required")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: ManifestIssuer | None = None) -> Any:
        return () if obj is None else (elsewhere, *FETCHED, "created_at")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.try_view)
        return [path("<int:object_id>/try/", view, name="miners_manifestissuer_try"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: ManifestIssuer, form: IssuerForm, change: bool) -> None:
        issuer_save(issuer=obj, changed=[name for name in form.changed_data if name in FROM_FORM])

    def get_deleted_objects(
        self, objs: QuerySet[ManifestIssuer] | Sequence[ManifestIssuer], request: HttpRequest
    ) -> Any:
        """Counted, not listed. One that has manifests stays, or a token could be used again: it is disabled instead."""
        number = Manifest.objects.filter(issuer__in=objs).count()
        kept = [f"{number} {Manifest._meta.verbose_name_plural}"] if number else []
        perms_needed = set() if self.has_delete_permission(request) else {ManifestIssuer._meta.verbose_name}
        return [str(each) for each in objs], {ManifestIssuer._meta.verbose_name_plural: len(objs)}, perms_needed, kept

    # ---- actions

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.change_manifest")

    @admin.action(description="Fetch the keys now", permissions=["change"])
    def fetch_now(self, request: HttpRequest, queryset: QuerySet[ManifestIssuer]) -> None:
        asked = [each.name for each in queryset if issuer_fetch_soon(issuer=each)]
        told = (
            f"The keys of {', '.join(asked)} are fetched within seconds." if asked else "None of them has an address."
        )
        self.message_user(request, told, messages.SUCCESS if asked else messages.WARNING)

    @admin.action(description="Revoke all its manifests", permissions=["revoke"])
    def revoke_all(self, request: HttpRequest, queryset: QuerySet[ManifestIssuer]) -> HttpResponse | None:
        issuers = list(queryset)
        if "confirmed" not in request.POST:
            number = Manifest.objects.filter(in_force(), issuer__in=issuers).count()
            return revoke_ask(self, request, "revoke_all", issuers, number)
        for each in issuers:
            revoked, left = manifests_revoke_of(issuer=each)
            more = f" {left} are left: do it again." if left else ""
            level = messages.WARNING if left else messages.SUCCESS
            self.message_user(request, f"{revoked} manifests of {each} revoked.{more}", level)
        return None

    # ---- a manifest that is tried

    def try_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        issuer = self.get_object(request, str(object_id))
        if issuer is None:
            return HttpResponseRedirect(self.list_url())
        if not self.has_view_permission(request, issuer):
            return HttpResponse(status=403)
        form = TokenForm(request.POST if request.method == "POST" else None)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Try a manifest of {issuer}",
            "opts": self.opts,
            "form": form,
            "back_url": self.page_url(issuer.pk),
            **(_tried(issuer, form) if form.is_valid() else {}),
        }
        return TemplateResponse(request, "miners/admin/try_manifest.html", context)


def _tried(issuer: ManifestIssuer, form: TokenForm) -> dict[str, Any]:
    given = form.cleaned_data
    try:
        found = manifest_try(issuer=issuer, token=given["token"], miner_id=given["miner_id"], now=clock.now())
    except Refused as refused:
        return {"reason": refused.reason.value, "detail": shown_text(refused.detail)}
    times = {name: clock.to_datetime(getattr(found, name)) for name in ("issued_at", "expires_at")}
    return {"verified": {"jti": shown_text(found.jti), **times, "values": shown_json(dict(found.values))}}
