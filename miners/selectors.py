"""Miners as operators read them: from the live registry, with what only the database holds beside it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from msgspec import convert

from miners.models import ManifestIssuer, Miner
from miners.profile import UNSAFE
from miners.registry.records import MinerView, State
from miners.registry.runtime import get_registry
from miners.serializers import AttestedAnswer, LiveAnswer, MarketAnswer, MinerAnswer, MinerPage
from poolhub.common import clock
from poolhub.common.errors import FieldError, NotFound, ValidationFailed
from poolhub.common.fields import MAX_COUNT, price_number

MAX_PAGE, DEFAULT_PAGE = 500, 100
MAX_TEXT = 256
WHOLE = re.compile(r"[0-9]{1,9}\Z")
NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    limit: int = DEFAULT_PAGE
    cursor: str | None = None
    state: str | None = None
    region: str | None = None
    capability: str | None = None
    tag: str | None = None
    min_vram_gb: float | None = None
    q: str | None = None


def page_query(params: Mapping[str, str]) -> PageQuery:
    """From the query string; ValidationFailed with one error a parameter. An empty parameter is left out."""
    given = {name: params[name] for name in PageQuery.__slots__ if params.get(name)}
    errors: list[FieldError] = []

    def refuse(name: str, detail: str) -> None:
        errors.append(FieldError(name, "invalid_value", detail))

    for name in ("cursor", "region", "capability", "tag", "q"):
        if name in given and (len(given[name]) > MAX_TEXT or UNSAFE.search(given[name])):
            refuse(name, f"a text of at most {MAX_TEXT} characters, none of them a control character")
    limit = given.pop("limit", str(DEFAULT_PAGE))
    if not WHOLE.match(limit) or not 1 <= int(limit) <= MAX_PAGE:
        refuse("limit", f"a whole number from 1 to {MAX_PAGE}")
    if given.get("state", State.ONLINE) not in list(State):
        refuse("state", f"one of {', '.join(State)}")
    vram = given.pop("min_vram_gb", None)
    if vram is not None and not (NUMBER.match(vram) and isfinite(float(vram)) and float(vram) <= MAX_COUNT):
        refuse("min_vram_gb", f"a number from 0 to {MAX_COUNT}")
    if errors:
        raise ValidationFailed(errors=errors)
    return PageQuery(limit=int(limit), min_vram_gb=None if vram is None else float(vram), **given)


def miner_page(query: PageQuery) -> MinerPage:
    """Miners in the order of their ids."""
    views, cursor = get_registry().page(
        now=clock.now(), limit=query.limit, cursor=query.cursor, state=query.state, region=query.region,
        capability=query.capability, tag=query.tag, min_vram_gb=query.min_vram_gb, q=query.q,
    )  # fmt: skip
    return MinerPage(results=_answers(views), next_cursor=cursor)


def miner_get(miner_id: str) -> MinerAnswer:
    view = get_registry().get(miner_id, now=clock.now())
    if view is None:
        raise NotFound(f"no miner {miner_id}")
    return _answers([view])[0]


def issuers_failing() -> int:
    """Those that are switched on, and whose keys could not be fetched at the last try."""
    return ManifestIssuer.objects.filter(enabled=True).exclude(jwks_url="").exclude(fetch_error="").count()


def _answers(views: Iterable[MinerView]) -> list[MinerAnswer]:
    views = list(views)
    kept = Miner.objects.filter(miner_id__in=[view.row.miner_id for view in views])
    beside = {
        name: (wallet, at) for name, wallet, at in kept.values_list("miner_id", "wallet_address", "registered_at")
    }
    return [_answer(view, *beside.get(view.row.miner_id, ("", None))) for view in views]


def _answer(view: MinerView, wallet_address: str, registered_at: datetime | None) -> MinerAnswer:
    row, live = view.row.covered(), view.live
    attested = row.attested.values()
    return MinerAnswer(
        miner_id=row.miner_id,
        state=view.state,
        addr=row.addr,
        proto=row.proto,
        gpu_name=row.gpu_name,
        gpu_vram=row.gpu_vram,
        gpu_count=row.gpu_count,
        cpu_cores=row.cpu_cores,
        ram_gb=row.ram_gb,
        max_parallel=row.max_parallel,
        region=row.region,
        accel=row.accel,
        tags=row.tags,
        capabilities=row.capabilities,
        wallet_address=wallet_address,
        registered_at=None if registered_at is None else clock.to_rfc3339(registered_at.timestamp()),
        price_token_per_ksec=price_number(row.price),
        price=price_number(view.price),
        price_source=view.price_source.value,
        price_cap=None if row.price_cap is None else price_number(row.price_cap),
        market=_market(view),
        draining=row.draining,
        operator_drain=row.operator_drain,
        disabled=row.disabled,
        attested_until=clock.to_rfc3339(row.attested_until) if row.attested_until else None,
        claimed=convert({name: getattr(view.row, name) for name in attested}, AttestedAnswer),
        trust=round(view.trust, 6),
        measured_latency_ms=row.latency_mean,
        lease_expires_at=_time(view.lease_expires_at),
        reservations=view.reservations,
        live=LiveAnswer(
            last_seen=_time(live.last_seen),
            queue_len=live.queue_len,
            busy=live.busy,
            current_jobs=live.jobs,
            occupied=live.own + live.foreign,
            avg_latency_ms=live.latency_ms,
            temp_c=live.temp_c,
            mem_free_gb=live.mem_free_gb,
        ),
    )


def _market(view: MinerView) -> MarketAnswer | None:
    found = view.market
    if found is None:
        return None
    return MarketAnswer(
        model=found.model,
        region=found.region,
        median=price_number(found.median),
        ratio=found.ratio,
        percentile=found.percentile,
        far_off=None if found.far_off is None else found.far_off.value,
    )


def _time(at: float) -> str | None:
    """None for a miner that was never there."""
    return clock.to_rfc3339(at) if isfinite(at) else None
