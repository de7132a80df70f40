"""What all pages of the Django admin share; a theme takes over by the base class of HubAdmin alone.

Promises: what a service refuses becomes an error of the form or a message, never a 500, and has changed nothing.
Nothing is deleted in bulk past a service. A list is filtered by what it shows, and by nothing else of its objects.
Strangers' text is escaped, and shows characters that hide as their codes.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.forms.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from poolhub.common.errors import HubError
from poolhub.common.text import visible

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin  # the theme has no types; its ModelAdmin is a subclass of this one
else:
    from unfold.admin import ModelAdmin

PATH_STEPS = re.compile(r"[.\[\]]+")
NO_VALUE = "-"


class AtLeast(int):
    """A number that was not counted to its end."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    """Counts no further than `highest`, so that a list of millions costs what its first rows cost.

    Later rows are found by search and filters. A filter that hardly any row passes still reads them all.
    """

    highest = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        found: int = rows.order_by().values("pk")[: self.highest + 1].count()
        return AtLeast(self.highest) if found > self.highest else found


class HubAdmin(ModelAdmin):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    change_form_template = "poolhub/admin/change_form.html"

    # ---- refusals of services

    def get_form(self, request: HttpRequest, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        error: HubError | None = getattr(request, "refusal", None)
        return form if error is None else _refused(form, error)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except HubError as error:  # it has left the view's transaction, which is rolled back
            request.refusal = error  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except HubError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(self.list_url())

    # ---- what the address bar may hold

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if "%00" in request.META.get("QUERY_STRING", ""):  # PostgreSQL takes no NUL
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django's own allows every field of the model: a viewer could guess a hidden one letter by letter."""
        name = lookup.partition(LOOKUP_SEP)[0]
        fields = {field.name: field for field in self.opts.get_fields()}
        if name in fields and not fields[name].is_relation and name not in self._shown_fields(request):
            return False
        return bool(super().lookup_allowed(lookup, value, request))

    def _shown_fields(self, request: HttpRequest) -> set[str]:
        columns = {each if isinstance(each, str) else each.__name__ for each in self.get_list_display(request)}
        filters = [each[0] if isinstance(each, tuple | list) else each for each in self.get_list_filter(request)]
        named = {each if isinstance(each, str) else getattr(each, "parameter_name", "") for each in filters}
        return columns | named | {self.opts.pk.name}

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any | None:
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)

    # ---- actions, which the page of one object offers too

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        if not hasattr(type(self), "delete_selected"):
            actions.pop("delete_selected", None)  # Django's own, which knows no service
        return actions

    def render_change_form(
        self, request: HttpRequest, context: Any, add: bool = False, change: bool = False, form_url: str = "",
        obj: Any | None = None,
    ) -> Any:  # fmt: skip
        choices = self.get_action_choices(request, [])
        # without the theme's "Select action"; and there is Delete for one
        context["page_actions"] = [each for each in choices if each[0] not in ("", "delete_selected")]
        context["list_url"] = self.list_url()
        context["object_pk"] = "" if obj is None else str(obj.pk)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def response_action(self, request: HttpRequest, queryset: Any, *args: Any) -> Any:
        """Back to where the action was asked for: the page of the object, or the list with its filters."""
        response = super().response_action(request, queryset, *args)
        if not isinstance(response, HttpResponseRedirect):
            return response
        page = request.POST.get("_page")
        if page and self.get_object(request, page) is not None:
            return HttpResponseRedirect(self.page_url(page))
        filters = request.POST.get("_filters")
        return HttpResponseRedirect(f"{self.list_url()}?{filters}") if filters else response

    # ---- addresses

    def list_url(self) -> str:
        return self._url("changelist")

    def page_url(self, pk: object) -> str:
        return self._url("change", pk)

    def _url(self, view: str, *args: object) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=args, current_app=self.admin_site.name)


class KeptAdmin(HubAdmin):
    """Objects that never change once they are there."""

    def has_change_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False


class ReadOnlyAdmin(KeptAdmin):
    """Objects that the hub alone writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False


def add_refusal(form: BaseForm, error: HubError) -> None:
    """Each error at the first step of its path that is a field of the form (`args.tags[1]`: tags)."""
    for each in error.errors:
        field = next((step for step in PATH_STEPS.split(each.field) if step in form.fields), None)
        form.add_error(field, each.detail if field else f"{each.field}: {each.detail}")
    if not error.errors:
        form.add_error(None, error.detail)


def _refused(form: Any, error: HubError) -> Any:
    """The same form, with what the service found in it."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        add_refusal(self, error)
        return cleaned

    return type(form.__name__, (form,), {"clean": clean})


def shown_text(text: str) -> str:
    """A stranger's text on a page: whatever its letters, it stays by itself."""
    return format_html("<bdi>{}</bdi>", visible(text)) if text else NO_VALUE


def shown_json(value: object) -> str:
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return format_html("<pre>{}</pre>", "\n".join(map(visible, lines)))


def text_column(name: str, label: str | None = None) -> Callable[[models.Model], str]:
    return _column(name, label, shown_text)


def json_column(name: str, label: str | None = None) -> Callable[[models.Model], str]:
    return _column(name, label, shown_json)


def _column(name: str, label: str | None, show: Callable[[Any], str]) -> Callable[[models.Model], str]:
    @admin.display(description=label or name.replace("_", " "), ordering=name)
    def column(obj: models.Model) -> str:
        return show(getattr(obj, name))

    column.__name__ = name
    return column
