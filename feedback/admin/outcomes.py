from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from feedback.admin.jobs import job_history
from feedback.models import Feedback
from matching.admin.shown import job_link
from miners.admin.shared import miner_link
from miners.models import Miner
from poolhub.common.admin import CappedPaginator, ReadOnlyAdmin, text_column

TOLD: Any = (
    job_link, miner_link, "outcome", "latency_ms", text_column("fail_code"), "tokens_spent",
    "created_at",
)  # fmt: skip


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    """Never sorted or counted over all of it, and searched by what is indexed: the table grows with every job."""

    list_display = TOLD
    list_display_links = None  # all of a row is in the list
    list_filter = ("outcome", "created_at")
    list_select_related = ("miner",)
    search_fields = ("job_id__exact", "miner__miner_id__exact")
    search_help_text = "A whole job id or miner id."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = TOLD
    readonly_fields = TOLD

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.job_view)
        return [path("job/", view, name="job_history"), *super().get_urls()]

    def job_view(self, request: HttpRequest) -> HttpResponse:
        return job_history(request, self.admin_site.each_context(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The miner is looked up first: over the join of both tables no index answers "this or that"."""
        if not search_term:
            return queryset, False
        miners = list(Miner.objects.filter(miner_id=search_term).values_list("pk", flat=True))
        return queryset.filter(Q(job_id=search_term) | Q(miner__in=miners)), False
