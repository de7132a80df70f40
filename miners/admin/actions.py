"""What operators do to the miners that they choose."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from access.audit import MAX_REASON
from access.audited import Audited
from miners.admin.acting import MAX_ACTED, act_on_each, chosen, number_of
from miners.admin.live import live
from miners.admin.override_forms import OverrideForm, conflicts_shown, override_of
from miners.admin.previews import price_previews_of
from miners.admin.shared import author_of
from miners.choices import CommandName
from miners.models import Miner
from miners.registry.records import State
from miners.services.commands import command_args, command_create
from miners.services.operators import (
    miner_disable,
    miner_enable,
    miner_end_session,
    miner_issue_key,
    miner_remove,
    price_override_create,
)


def command_send(request: HttpRequest, miner: Miner, name: CommandName, args: dict[str, Any] | None = None) -> None:
    command_create(miner_id=miner.miner_id, name=name, args=command_args(name, args or {}), author=author_of(request))


class MinerActions(Audited):
    actions = (
        "enable", "disable", "drain", "resume", "reregister", "end_session", "issue_key", "set_price_override",
        "delete_selected",
    )  # fmt: skip

    def has_command_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.add_minercommand")

    def has_override_permission(self, request: HttpRequest) -> bool:
        return author_of(request).has_perm("miners.add_priceoverride")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Miner]) -> None:
        self._each(request, queryset, "enabled", lambda miner: miner_enable(miner_id=miner.miner_id))

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Miner]) -> HttpResponse | None:
        if not _confirmed(request):
            told = "Their sockets close at once, and their tokens and keys are refused until they are enabled."
            return self._ask(request, queryset, "disable", told)
        self._each(request, queryset, "disabled", lambda miner: miner_disable(miner_id=miner.miner_id))
        return None

    @admin.action(description="Drain", permissions=["change"])
    def drain(self, request: HttpRequest, queryset: QuerySet[Miner]) -> None:
        self._each(request, queryset, "drained", partial(command_send, request, name=CommandName.DRAIN))

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Miner]) -> None:
        self._each(request, queryset, "resumed", partial(command_send, request, name=CommandName.RESUME))

    @admin.action(description="Ask to register again", permissions=["command"])
    def reregister(self, request: HttpRequest, queryset: QuerySet[Miner]) -> None:
        done = "asked to register again"
        self._each(request, queryset, done, partial(command_send, request, name=CommandName.REREGISTER))

    @admin.action(description="End the session", permissions=["change"])
    def end_session(self, request: HttpRequest, queryset: QuerySet[Miner]) -> HttpResponse | None:
        if not _confirmed(request):
            told = "Their sockets close and their tokens end at once. Their keys stay: they may register again."
            return self._ask(request, queryset, "end_session", told)
        self._each(request, queryset, "logged out", lambda miner: miner_end_session(miner_id=miner.miner_id))
        return None

    @admin.action(description="Set a price override", permissions=["override"])
    def set_price_override(self, request: HttpRequest, queryset: QuerySet[Miner]) -> HttpResponse | None:
        previewing = "preview" in request.POST and not _confirmed(request)
        form = OverrideForm(request.POST if previewing or _confirmed(request) else None)
        form.deciding = not previewing
        form.miner_pks = list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_ACTED + 1])
        if not form.is_valid() or previewing:
            told = "It holds from the next match on, while it is the newest in force."
            return self._ask(request, queryset, "set_price_override", told, form, previewing=previewing)
        given, author, seen = override_of(form), author_of(request), form.seen_pks()

        def override(miner: Miner) -> None:
            price_override_create(miner_id=miner.miner_id, author=author, seen=seen, **given)

        self._each(request, queryset, "given a price override", override)
        return None

    @admin.action(description="Issue a key", permissions=["change"])
    def issue_key(self, request: HttpRequest, queryset: QuerySet[Miner]) -> HttpResponse | None:
        if not _confirmed(request):
            return self._ask(request, queryset, "issue_key", "Their keys and sessions end at once.")
        keys: dict[str, str] = {}

        def issue(miner: Miner) -> None:
            keys[miner.miner_id] = miner_issue_key(miner_id=miner.miner_id)

        done = self._each(request, queryset, "given a new key", issue)
        return self.show_keys(request, [(miner.miner_id, keys[miner.miner_id]) for miner in done]) if done else None

    @admin.action(description="Remove", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Miner]) -> HttpResponse | None:
        """In place of Django's own, which would list everything that hangs on them."""
        if not _confirmed(request):
            told = "Everything kept of them goes too: overrides, commands, feedback. This cannot be undone."
            return self._ask(request, queryset, "delete_selected", told)
        self._each(request, queryset, "removed", lambda miner: miner_remove(miner_id=miner.miner_id))
        return None

    def show_keys(self, request: HttpRequest, keys: Iterable[tuple[str, str]]) -> HttpResponse:
        """In this answer and nowhere else: a message over a redirect would leave them in a cookie or the database."""
        self.message_user(request, "Copy this now: a key is shown this once.", messages.WARNING)
        context = {
            **self.admin_site.each_context(request),
            "title": "API keys",
            "opts": self.opts,
            "list_url": self.list_url(),
            "keys": list(keys),
        }
        return TemplateResponse(request, "miners/admin/keys.html", context)

    # ---- inside

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Miner], done: str, act: Callable[[Miner], object]
    ) -> list[Miner]:
        return act_on_each(self, request, queryset, done=done, act=act)

    def _ask(
        self, request: HttpRequest, queryset: QuerySet[Miner], action: str, told: str, form: OverrideForm | None = None,
        *, previewing: bool = False,
    ) -> HttpResponse | None:  # fmt: skip
        """A page that says how many miners it is about, and takes what else is needed."""
        miners = chosen(self, request, queryset)
        if not miners:
            return None
        title = self.get_actions(request)[action][2]
        page = request.POST.get("_page", "")
        filters = request.POST.get("_filters") or request.GET.urlencode()
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "question": f"{title}: {number_of(miners)}.",
            "told": told,
            "touched": touched(miners),
            "dangerous": form is None,
            "max_reason": MAX_REASON,
            "opts": self.opts,
            "list_url": self.list_url(),
            "back_url": self.page_url(page) if page else f"{self.list_url()}?{filters}",
            "action": action,
            "page": page,
            "filters": filters,
            "miners": sorted(miners, key=str),
            "form": form,
            **({} if form is None else conflicts_shown(form)),
            "previews": price_previews_of(request, miners, form.cleaned_data["price"])
            if form is not None and previewing and form.is_valid()
            else [],
            "media": self.media if form is None else self.media + form.media,
        }
        return TemplateResponse(request, "miners/admin/action.html", context)


def touched(miners: Iterable[Miner]) -> str:
    """What hangs on these miners now, as this process sees it."""
    views = [view for view in map(live, miners) if view is not None]
    at_work = sum(view.state in (State.ONLINE, State.DEGRADED, State.DRAINING) for view in views)
    jobs = sum(view.reservations for view in views)
    return f"{at_work} of them are in contact with the hub, which has placed {jobs} jobs on them."


def _confirmed(request: HttpRequest) -> bool:
    return "confirmed" in request.POST
