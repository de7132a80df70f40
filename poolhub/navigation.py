"""The admin's sidebar, by what an operator is after. Each entry is there for those who may see what it leads to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Entry:
    title: str
    icon: str  # of Material Symbols, which the theme brings along
    view: str  # "app.model": its list; otherwise the name of a view of the admin
    permission: str | None = None  # None: to view the model, or none for another view
    also: tuple[str, ...] = ()  # views of the admin that belong to it, wherever they are

    def link(self) -> str:
        app, _, model = self.view.partition(".")
        return reverse(f"admin:{app}_{model}_changelist" if model else f"admin:{self.view}")

    def needs(self) -> str | None:
        if self.permission is not None or "." not in self.view:
            return self.permission
        app, _, model = self.view.partition(".")
        return f"{app}.view_{model}"


GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Pool",
        (
            Entry("Dashboard", "monitoring", "index"),
            Entry("Miners", "memory", "miners.miner"),
            Entry("Price overrides", "sell", "miners.priceoverride"),
            Entry("Regions", "public", "miners.roundtrip"),
            Entry("Commands", "send", "miners.minercommand"),
            Entry("Last reports", "ecg_heart", "miners.minerstatus"),
            Entry("Manifests", "verified", "miners.manifest"),
            Entry("Issuers", "workspace_premium", "miners.manifestissuer"),
        ),
    ),
    (
        "Jobs",
        (
            Entry("Match playground", "experiment", "matching_playground", "matching.view_matchrecord"),
            Entry("Job history", "work_history", "matching.matchrecord", also=("job_history",)),
            Entry("Feedback", "reviews", "feedback.feedback"),
        ),
    ),
    (
        "Market",
        (
            Entry("Market", "monitoring", "market.marketmedian"),
            Entry("Prices told", "sell", "market.marketprice"),
            Entry("Price feeds", "rss_feed", "market.pricefeed"),
            Entry("Price units", "straighten", "market.priceunit"),
            Entry("GPU aliases", "label", "market.gpualias"),
        ),
    ),
    (
        "Settlement",
        (
            Entry("Settlement events", "payments", "settlement.settlementevent"),
            Entry("Transfers on a chain", "link", "settlement.evmtransfer"),
            Entry("Replays", "replay", "settlement.settlementreplay"),
            Entry("Pauses", "pause_circle", "settlement.settlementpause"),
        ),
    ),
    (
        "Access",
        (
            Entry("Log of changes", "history", "access.change"),
            Entry("Users", "person", "auth.user"),
            Entry("Roles", "shield_person", "auth.group"),
            Entry("Failed logins", "lock", "axes.accessattempt"),
        ),
    ),
)


def visible_to(request: HttpRequest) -> list[tuple[str, Entry]]:
    return [(title, each) for title, entries in GROUPS for each in entries if _may(each.needs())(request)]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Of the pages that the address is below, the nearest is the active one."""
    places = {
        place: each for _, entries in GROUPS for each in entries for place in (each.link(), *map(_reversed, each.also))
    }
    here = places.get(max(filter(request.path.startswith, places), key=len, default=""))
    return [
        {
            "title": title,
            "items": [
                {
                    "title": each.title,
                    "icon": each.icon,
                    "link": each.link(),
                    "permission": _may(each.needs()),
                    "active": each == here,
                }
                for each in entries
            ],
        }
        for title, entries in GROUPS
    ]


def _reversed(view: str) -> str:
    return reverse(f"admin:{view}")


def _may(permission: str | None) -> Callable[[HttpRequest], bool]:
    def may(request: HttpRequest) -> bool:
        user: User | AnonymousUser = request.user
        return permission is None or user.has_perm(permission)

    return may
