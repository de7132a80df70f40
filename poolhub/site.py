"""The admin site itself: its pages that belong to no model."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.dataclasses import SearchResult
from unfold.sites import UnfoldAdminSite

from poolhub import navigation


class HubSite(UnfoldAdminSite):  # type: ignore[misc]  # the theme has no types
    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Ctrl+K: the pages of the sidebar. The theme's own keeps its results in the cache, pickled."""
        asked = request.GET.get("s", "").strip().lower()
        if not asked:
            return HttpResponse()
        found = [
            SearchResult(title=entry.title, description=group, link=entry.link(), icon=entry.icon)
            for group, entry in navigation.visible_to(request)
            if asked in entry.title.lower()
        ]
        page = Paginator(found, max(1, len(found))).page(1)
        context = {"page_obj": page.paginator, "results": page, "page_counter": 0, "execution_time": 0}
        extended = "extended" in request.GET
        name = "unfold/helpers/command_results.html" if extended else "unfold/helpers/search_results.html"
        return TemplateResponse(request, name, context, headers={"HX-Trigger": "search"})
