"""Columns of the miners' pages that come from the live registry, without a query."""

from math import isfinite

from django.contrib import admin
from unfold.decorators import display

from miners.admin.shared import tokens_text
from miners.models import Miner
from miners.registry.choosing import Order
from miners.registry.records import MinerView, PriceSource
from miners.registry.runtime import get_registry
from miners.tokens import tokens
from poolhub.common import clock
from poolhub.common.admin import NO_VALUE


def live(miner: Miner) -> MinerView | None:
    """The miner as matching sees it now, read once for each object; None where this process has yet to hear of it."""
    kept = vars(miner)
    if "_live" not in kept:
        kept["_live"] = get_registry().get(miner.miner_id, now=clock.now())
    view: MinerView | None = kept["_live"]
    return view


STATES = {"online": "success", "degraded": "warning", "offline": "default", "draining": "info", "disabled": "danger"}


@display(description="state", ordering=Order.STATE.value, label=STATES)  # type: ignore[untyped-decorator]
def state(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None else view.state.value


@admin.display(description="load", ordering=Order.LOAD.value)
def load(miner: Miner) -> str:
    """Slots taken of all."""
    view = live(miner)
    return NO_VALUE if view is None else f"{view.live.own + view.live.foreign}/{view.row.max_parallel}"


@admin.display(description="effective price", ordering=Order.PRICE.value)
def effective_price(miner: Miner) -> str:
    view = live(miner)
    if view is None:
        return NO_VALUE
    price = tokens_text(tokens(view.price))
    return price if view.price_source is PriceSource.OWN else f"{price} ({view.price_source.value})"


@admin.display(description="against the market")
def market(miner: Miner) -> str:
    """Times the median, and the share of the market that is not dearer."""
    view = live(miner)
    if view is None or view.market is None:
        return NO_VALUE
    found = view.market
    text = f"{tokens_text(tokens(found.median))} median" if found.ratio is None else f"{found.ratio:.2f}× median"
    flag = "" if found.far_off is None else f", far too {found.far_off.value}: bait or a mistake?"
    return f"{text}, {found.percentile:.0f} % not dearer{flag}"


@admin.display(description="trust", ordering=Order.TRUST.value)
def trust(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None else f"{view.trust:.3f}"


@admin.display(description="temperature", ordering=Order.TEMPERATURE.value)
def temperature(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None or view.live.temp_c is None else f"{view.live.temp_c:g} °C"


@admin.display(description="last contact", ordering=Order.LAST_SEEN.value)
def heard(miner: Miner) -> str:
    """How long ago; the time itself is on the miner's page."""
    view = live(miner)
    if view is None or not isfinite(view.live.last_seen):
        return NO_VALUE
    return ago(max(0.0, clock.now() - view.live.last_seen))


@admin.display(description="last contact")
def last_contact(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None else _time(view.live.last_seen)


@admin.display(description="lease until")
def lease_until(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None else _time(view.lease_expires_at)


@admin.display(description="reported")
def reported(miner: Miner) -> str:
    view = live(miner)
    if view is None:
        return NO_VALUE
    told = view.live
    parts = [f"{told.queue_len} queued", f"{told.jobs} running", "busy" if told.busy else "not busy"]
    if told.latency_ms is not None:
        parts.append(f"{told.latency_ms:g} ms")
    if told.temp_c is not None:
        parts.append(f"{told.temp_c:g} °C")
    if told.mem_free_gb is not None:
        parts.append(f"{told.mem_free_gb:g} GB free")
    return ", ".join(parts)


@admin.display(description="held by the hub")
def held(miner: Miner) -> str:
    view = live(miner)
    return NO_VALUE if view is None else f"{view.reservations} reservations and holds"


def ago(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _time(at: float) -> str:
    """In UTC. A miner that was never there has none."""
    return f"{clock.to_datetime(at):%Y-%m-%d %H:%M:%S}" if isfinite(at) else NO_VALUE
