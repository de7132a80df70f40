"""The admin site itself: its pages that belong to no model."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, path
from unfold.dataclasses import SearchResult
from unfold.sites import UnfoldAdminSite

from access.audit import Via, acting, actor_of
from poolhub import navigation
from poolhub.common import codec
from poolhub.common.text import visible_page
from poolhub.dashboard import snapshot

MAY_SEE = "miners.view_miner"
CHARTS = (
    ("regions", "Miners by region"),
    ("slots", "Slots by region"),
    ("matches", "Matches a minute"),
    ("latency", "Time to answer a match, ms"),
    ("empty", "Matches without a candidate, by what rejected most miners"),
    ("rejections", "Miners rejected, by the first constraint that they fail"),
    ("heartbeats", "Heartbeats a second"),
    ("feedback", "Feedback by outcome"),
)


class HubSite(UnfoldAdminSite):  # type: ignore[misc]  # the theme has no types
    index_title = "Dashboard"
    index_template = "poolhub/admin/dashboard.html"

    def get_urls(self) -> list[URLPattern]:
        return [path("dashboard.json", self.admin_view(self.dashboard), name="dashboard"), *super().get_urls()]

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Callable[..., HttpResponse]:
        """As Django's; what it changes is logged as the user's, with the form's field `reason`.

        Whatever text a page shows, Django's own pages included, nothing in it hides or turns the direction of others.
        """

        @wraps(view)
        def audited(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
            with acting(actor_of(request, via=Via.ADMIN, reason=request.POST.get("reason", ""))):
                response = view(request, *args, **options)
            if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
                response.add_post_render_callback(_show_all)
            else:
                _show_all(response)
            return response

        checked: Callable[..., HttpResponse] = super().admin_view(audited, cacheable)
        return checked

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"may_see": _may_see(request), "charts": CHARTS, **(extra_context or {})}
        answer: HttpResponse = super().index(request, shown)
        return answer

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """The numbers that the page asks for again and again."""
        if not _may_see(request):
            raise PermissionDenied
        return HttpResponse(codec.encode(snapshot()), content_type="application/json")

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


def _may_see(request: HttpRequest) -> bool:
    return cast("User", request.user).has_perm(MAY_SEE)


def _show_all(response: HttpResponse) -> None:
    if response.streaming or not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    html = response.content.decode(response.charset)
    shown = visible_page(html)
    if shown is not html:
        response.content = shown.encode(response.charset)
