"""The pages of import and export in the list of price overrides.

What was uploaded waits for its confirmation in Django's cache: in Redis where REDIS_URL is set, so that any process may
be asked to confirm; without it the hub is one process.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from import_export.admin import ImportExportMixin
from import_export.forms import ConfirmImportForm
from import_export.tmp_storages import CacheStorage
from redis.exceptions import RedisError
from unfold.contrib.import_export.forms import ExportForm, ImportForm

from access.audit import MAX_REASON
from miners.admin.override_files import FORMATS
from miners.admin.override_forms import seen_pks
from miners.admin.override_resource import MAX_ROWS, TOLD, OverrideResource
from miners.admin.shared import author_of
from miners.models import PriceOverride
from miners.registry.runtime import get_registry
from poolhub.common.errors import HubError, NotFound, Unavailable
from poolhub.common.text import visible

KEPT_S = 3600
MAX_TOLD = 5


class Upload(CacheStorage):  # type: ignore[misc]  # the library has no types
    """Raises Unavailable while the cache is away, and NotFound where nothing, or nothing any more, is kept."""

    CACHE_LIFETIME = KEPT_S
    CACHE_PREFIX = "override-upload-"

    def save(self, data: Any) -> None:
        try:
            super().save(data)
        except RedisError as error:
            raise Unavailable("Redis does not answer, which keeps the file until it is confirmed.") from error

    def read(self) -> Any:
        try:
            kept = super().read()
        except RedisError as error:
            raise Unavailable("Redis does not answer, which keeps the file until it is confirmed.") from error
        if kept is None:
            raise NotFound("The file is not kept any more: it was imported already, or an hour has passed.")
        return kept

    def remove(self) -> None:
        try:
            super().remove()
        except RedisError:
            return  # it goes by itself


class ConfirmForm(ConfirmImportForm):  # type: ignore[misc]
    format = forms.ChoiceField(choices=[(str(i), "") for i in range(len(FORMATS))], widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)  # overrides that the dry run found in the way


class OverrideImportExport(ImportExportMixin):  # type: ignore[misc]
    resource_classes = (OverrideResource,)
    import_form_class, confirm_form_class, export_form_class = ImportForm, ConfirmForm, ExportForm
    import_template_name = "miners/admin/import.html"
    tmp_storage_class = Upload
    skip_admin_log = True  # the service writes the log
    to_encoding = "utf-8"

    def has_import_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.add_priceoverride")

    def has_export_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.view_priceoverride")

    def get_import_formats(self) -> list[type]:
        return list(FORMATS)

    def get_export_formats(self) -> list[type]:
        return list(FORMATS)

    def get_export_queryset(self, request: HttpRequest) -> QuerySet[PriceOverride]:
        """As the list is filtered; the oldest first, so that an import sets them in that order."""
        overrides: QuerySet[PriceOverride] = super().get_export_queryset(request)
        return overrides.select_related("miner", "author").order_by("id")

    def get_export_resource_kwargs(self, request: HttpRequest, **options: Any) -> dict[str, Any]:
        return {}

    def get_valid_export_item_pks(self, request: HttpRequest) -> list[int]:
        """There is no export of those that are ticked: the filters say what is wanted."""
        return []

    def export_action(self, request: HttpRequest) -> HttpResponse:
        """What the address bar may hold, as in the list: what is no filter is dropped."""
        if "%00" in request.META.get("QUERY_STRING", ""):  # PostgreSQL takes no NUL
            return HttpResponseRedirect(request.path)
        try:
            answer: HttpResponse = super().export_action(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(request.path)
        return answer

    # ---- the two steps of an import

    def import_action(self, request: HttpRequest, **options: Any) -> HttpResponse:
        get_registry()  # it must load nothing that is not committed
        try:
            answer: HttpResponse = super().import_action(request, **options)
        except HubError as error:
            return self._start_anew(request, error.detail)
        return answer

    def process_import(self, request: HttpRequest, **options: Any) -> HttpResponse:
        if not self.has_import_permission(request):
            raise PermissionDenied
        get_registry()
        try:
            answer: HttpResponse = super().process_import(request, **options)
        except HubError as error:
            return self._start_anew(request, error.detail)
        return answer

    def process_result(self, result: Any, request: HttpRequest) -> HttpResponse:
        """All or nothing; the library tells of neither."""
        refused = [str(each.error) for each in result.base_errors]
        for row in result.invalid_rows:
            refused += [f"Row {row.number}: {' '.join(row.error.messages)}"]
        refused += [f"Row {number}: {each.error}" for number, errors in result.row_errors() for each in errors]
        if not refused:
            answer: HttpResponse = super().process_result(result, request)
            return answer
        for told in refused[:MAX_TOLD]:
            self.message_user(request, visible(told), messages.ERROR)
        return self._start_anew(request, "Nothing was imported. Send the file again, to see what it does now.")

    def _start_anew(self, request: HttpRequest, told: str) -> HttpResponse:
        self.message_user(request, told, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:miners_priceoverride_import", current_app=self.admin_site.name))

    # ---- what the library asks for on the way

    def get_import_resource_kwargs(self, request: HttpRequest, **options: Any) -> dict[str, Any]:
        """In the dry run the resource fills `conflicts`, which the form to confirm takes along."""
        form: Any = options.get("form")
        confirmed = isinstance(form, ConfirmForm)
        request.conflicts = set()  # type: ignore[attr-defined]
        return {
            "author": author_of(request),
            "seen": seen_pks(form.cleaned_data["seen"]) if confirmed else None,
            "conflicts": request.conflicts,  # type: ignore[attr-defined]
        }

    def get_import_data_kwargs(self, **options: Any) -> dict[str, Any]:
        return {"rollback_on_validation_errors": True}

    def get_confirm_form_kwargs(self, request: HttpRequest, import_form: Any = None) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_confirm_form_kwargs(request, import_form)
        if import_form is not None:
            conflicts = sorted(request.conflicts)  # type: ignore[attr-defined]
            kwargs["initial"] = {**kwargs["initial"], "seen": ",".join(map(str, conflicts))}
        return kwargs

    def get_import_context_data(self, **options: Any) -> dict[str, Any]:
        return {
            "max_rows": MAX_ROWS,
            "max_reason": MAX_REASON,
            "ignored": TOLD,
            "list_url": reverse("admin:miners_priceoverride_changelist"),
        }
