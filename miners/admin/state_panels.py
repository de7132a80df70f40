"""The panels of a miner that are this app's own: how it is, what it costs and why, what it was told."""

from typing import Any
from urllib.parse import urlencode

from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse

from miners.admin import live
from miners.admin.override_lines import override_lines
from miners.admin.panels import Panel, panel_add
from miners.admin.shared import author_of, tokens_text
from miners.choices import CommandStatus
from miners.models import Miner, MinerCommand
from miners.registry.records import MinerView, PriceSource
from miners.standing import Standing
from poolhub.common import clock
from poolhub.common.text import visible

MAX_OVERRIDES, MAX_COMMANDS = 8, 8
STATUSES = {
    CommandStatus.ACKED: "success", CommandStatus.FAILED: "danger", CommandStatus.EXPIRED: "warning",
    CommandStatus.SENT: "info", CommandStatus.PENDING: "default",
}  # fmt: skip
SOURCES = {
    PriceSource.OWN: "The miner's own price: no override is in force, and no cap is below it.",
    PriceSource.OVERRIDE: "The override in force stands in for the miner's own price.",
    PriceSource.CAP: "The price cap is below what would hold otherwise.",
}


def _now(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    view = live.live(miner)
    if view is None:
        return {"view": None}
    told, slots = view.live, view.row.max_parallel
    taken = told.own + told.foreign
    return {
        "view": view,
        "state": view.state.value,
        "variant": live.STATES[view.state.value],
        "heard": live.heard(miner),
        "last_contact": live.last_contact(miner),
        "lease_until": live.lease_until(miner),
        "load": live.load(miner),
        "load_width": f"{min(100 * taken / slots, 100):.0f}%",
        "full": taken >= slots,
        "held": live.held(miner),
        "reported": live.reported(miner),
        "temperature": live.temperature(miner),
        "measured": "" if view.row.latency_mean is None else f"{view.row.latency_mean:.1f}",
        "latency_count": view.row.latency_count,
        "why_drained": _why_drained(view),
    }


def _why_drained(view: MinerView) -> str:
    words = [("the miner's own word", view.row.draining), ("an operator's", view.row.operator_drain)]
    return " and ".join(word for word, holds in words if holds)


def _price(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    now = clock.now()
    view = live.live(miner)
    may = author_of(request).has_perm
    shown: dict[str, Any] = {
        "own": tokens_text(miner.price),
        "cap": None if miner.price_cap is None else tokens_text(miner.price_cap),
        "effective": live.effective_price(miner),
        "market": live.market(miner),
        "source": None if view is None else view.price_source.value,
        "why": "" if view is None else SOURCES[view.price_source],
        "changed": view is not None and view.price_source is not PriceSource.OWN,
        "add_url": _url("priceoverride_add", miner=miner.pk) if may("miners.add_priceoverride") else "",
    }
    if not may("miners.view_priceoverride"):
        return shown
    # those that are not over come first: they end later, or never
    last_first = F("valid_until").desc(nulls_first=True)
    overrides = miner.price_overrides.select_related("miner", "author").order_by(last_first, "-id")
    lines = override_lines(list(overrides[: MAX_OVERRIDES + 1]), now)
    order = list(Standing)
    shown["more"] = len(lines) > MAX_OVERRIDES
    shown["overrides"] = sorted(lines[:MAX_OVERRIDES], key=lambda each: order.index(each.standing))
    shown["all_url"] = _url("priceoverride_changelist", miner__id__exact=miner.pk)
    return shown


def _commands(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    found = MinerCommand.objects.filter(miner=miner).select_related("author").order_by("-created_at", "-number")
    return {
        "commands": [
            {
                "of": each,
                "variant": STATUSES[CommandStatus(each.status)],
                "args": visible(", ".join(f"{name}: {value}" for name, value in each.args.items())),
                "detail": visible(each.detail),
                "url": reverse("admin:miners_minercommand_change", args=[each.pk]),
            }
            for each in found[:MAX_COMMANDS]
        ],
        "all_url": _url("minercommand_changelist", miner__id__exact=miner.pk),
    }


def _url(page: str, **params: object) -> str:
    return f"{reverse(f'admin:miners_{page}')}?{urlencode(params)}"


panel_add(Panel("Now", "miners/admin/panel_now.html", "miners.view_miner", 10, _now))
panel_add(Panel("Effective price", "miners/admin/panel_price.html", "miners.view_miner", 20, _price))
panel_add(Panel("Commands", "miners/admin/panel_commands.html", "miners.view_minercommand", 70, _commands))
