from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html

from matching.admin.playground import playground, playground_url
from matching.admin.shown import job_link, job_url
from matching.models import MatchRecord
from poolhub.common.admin import NO_VALUE, CappedPaginator, ReadOnlyAdmin, json_column, shown_text, text_column


@admin.display(description="try again")
def again(record: MatchRecord) -> str:
    return format_html('<a href="{}">What would it be answered now?</a>', playground_url(record=record.pk))


READ: Any = (
    again, job_link, "created_at", text_column("explain"), "eligible", "considered", json_column("rejected"),
    json_column("candidates"), json_column("request"), "reservation_id", "latency_ms",
)  # fmt: skip
LARGE = ("request", "candidates", "quotes", "explain", "rejected")


@admin.display(description="first candidate")
def first(record: MatchRecord) -> str:
    return shown_text(getattr(record, "first_candidate", None) or NO_VALUE)


@admin.display(description="answered in")
def took(record: MatchRecord) -> str:
    return f"{record.latency_ms:.2f} ms"


@admin.register(MatchRecord)
class MatchRecordAdmin(ReadOnlyAdmin):
    """Never sorted, counted or searched over all of it: the table may have hundreds of millions of rows."""

    list_display = (job_link, "created_at", first, "eligible", "considered", took, "reservation_id")
    list_display_links = None  # a row leads to all that is known of its job
    list_filter = ("created_at",)
    search_fields = ("job_id__exact",)
    search_help_text = "A whole job id."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = READ
    readonly_fields = READ

    def get_queryset(self, request: HttpRequest) -> QuerySet[MatchRecord]:
        records: QuerySet[MatchRecord] = super().get_queryset(request)
        return records.defer(*LARGE).annotate(first_candidate=KT("candidates__0__miner_id"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A search is for a job, and its page shows what came of it too."""
        asked = request.GET.get("q")
        if asked and self.has_view_permission(request):
            return HttpResponseRedirect(job_url(asked))
        return super().changelist_view(request, extra_context)

    # ---- the playground

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.playground_view)
        return [path("playground/", view, name="matching_playground"), *super().get_urls()]

    def playground_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return playground(request, {**self.admin_site.each_context(request), "opts": self.opts})
