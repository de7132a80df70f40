from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest

from matching.models import MatchRecord
from poolhub.common.admin import NO_VALUE, CappedPaginator, ReadOnlyAdmin, json_column, shown_text, text_column

JOB = text_column("job_id", "job")
READ: Any = (
    JOB, "created_at", text_column("explain"), "eligible", "considered", json_column("rejected"),
    json_column("candidates"), json_column("request"), "reservation_id", "latency_ms",
)  # fmt: skip
LARGE = ("request", "candidates", "explain", "rejected")


@admin.display(description="first candidate")
def first(record: MatchRecord) -> str:
    return shown_text(getattr(record, "first_candidate", None) or NO_VALUE)


@admin.register(MatchRecord)
class MatchRecordAdmin(ReadOnlyAdmin):
    """Never sorted, counted or searched over all of it: the table may have hundreds of millions of rows."""

    list_display = (JOB, "created_at", first, "eligible", "considered", "latency_ms", "reservation_id")
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

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Job ids may hold spaces, so the term is one."""
        return (queryset.filter(job_id=search_term) if search_term else queryset), False
