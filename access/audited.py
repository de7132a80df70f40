"""Pages of the admin whose changes are in the log, and which show them."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from access.audit import change_record, changes_of, shown
from poolhub.common.admin import HubAdmin

MAX_SHOWN = 200
SECRET = "password"  # noqa: S105 - a part of fields' names


class Audited(HubAdmin):
    """Whose services write the log. Django's own log, which knows no values, is left empty."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return []

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        if obj is None:
            return HttpResponseRedirect(self.list_url())
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        found = list(changes_of(obj)[: MAX_SHOWN + 1])
        context = {
            **self.admin_site.each_context(request),
            "title": f"Changes of {obj}",
            "opts": self.opts,
            "object": obj,
            "back_url": self.page_url(obj.pk),
            "changes": [(each, lines(each.before), lines(each.after)) for each in found[:MAX_SHOWN]],
            "more": len(found) > MAX_SHOWN,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "access/history.html", context)


class AuditedForms(Audited):
    """For plain models, which no service changes: the form knows what was there before."""

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        request.told = told(form, add=add)  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "added")

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, obj, "changed")

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for each in queryset:
            change_record(action="deleted", obj=each, before=fields_of(each), after={})
        return []

    def _record(self, request: HttpRequest, obj: Model, action: str) -> None:
        before, after = getattr(request, "told", ({}, {}))
        if before or after or action == "added":
            change_record(action=action, obj=obj, before=before, after=after)


def lines(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, shown(value)) for name, value in values.items()]


def told(form: BaseForm, *, add: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that were changed, as they were and as they are. Of a password only that it was."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name in form.changed_data:
        if SECRET in name:
            after["password"] = "a new one"  # noqa: S105
            continue
        before[name] = form.get_initial_for_field(form.fields[name], name)
        after[name] = form.cleaned_data.get(name)
    return ({} if add else before), after


def fields_of(obj: Model) -> Mapping[str, Any]:
    return {field.name: getattr(obj, field.attname) for field in obj._meta.concrete_fields if SECRET not in field.name}
