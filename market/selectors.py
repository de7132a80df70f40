"""The market as the public route shows it: from this process's memory, made into bytes once."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min

from market.models import MarketMedian, PriceFeed
from market.names import region_of
from market.runtime import Held, get_market
from market.serializers import MarketPriceAnswer, MarketPrices
from poolhub.common import clock, codec
from poolhub.common.errors import FieldError, ValidationFailed
from poolhub.common.fields import price_number, price_units

MAX_TEXT = 256
MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Shown:
    body: bytes
    etag: str


class Pages:
    """The newest answers, by what was asked; all of one version."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._kept: OrderedDict[tuple[str, str | None], Shown] = OrderedDict()

    def get(self, held: Held, model: str, region: str | None) -> Shown:
        key = (model, region)
        with self._lock:
            if self._version != held.table.version:
                self._kept.clear()
                self._version = held.table.version
            found = self._kept.get(key)
        if found is None:
            body = codec.encode(_prices(held, model, region))
            found = Shown(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
            with self._lock:
                if self._version == held.table.version:
                    self._kept[key] = found
                    if len(self._kept) > MAX_KEPT:
                        self._kept.popitem(last=False)
        return found


pages = Pages()


def market_prices(params: Mapping[str, str]) -> Shown:
    """ValidationFailed names a bad parameter. model is taken as GPU names are; an unknown one has no prices."""
    errors = [
        FieldError(name, "invalid_value", f"a text of at most {MAX_TEXT} characters")
        for name in ("model", "region")
        if len(params.get(name, "")) > MAX_TEXT or "\x00" in params.get(name, "")
    ]
    if errors:
        raise ValidationFailed(errors=errors)
    held = get_market()
    model = held.table.resolve(params["model"]) if params.get("model") else ""
    return pages.get(held, model, region_of(params["region"]) if "region" in params else None)


@dataclass(frozen=True, slots=True)
class FeedsStanding:
    failing: int
    oldest_at: datetime | None


def feeds_standing() -> FeedsStanding:
    """Of the feeds that are switched on."""
    feeds = PriceFeed.objects.filter(enabled=True)
    oldest = feeds.aggregate(at=Min("checked_at"))["at"]
    return FeedsStanding(feeds.filter(failing_since__isnull=False).count(), oldest)


def _prices(held: Held, model: str, region: str | None) -> MarketPrices:
    wanted = [each for each in held.medians if model in ("", each.model) and (region is None or region == each.region)]
    return MarketPrices(version=held.table.version, results=[_answer(each) for each in wanted])


def _answer(each: MarketMedian) -> MarketPriceAnswer:
    low, q1, median, q3, high = (
        price_number(price_units(price)) for price in (each.low, each.q1, each.median, each.q3, each.high)
    )
    return MarketPriceAnswer(
        model=each.model,
        region=each.region,
        count=each.count,
        low=low,
        q1=q1,
        median=median,
        q3=q3,
        high=high,
        trend=None if each.trend is None else round(each.trend, 6),
        as_of=clock.to_rfc3339(each.as_of.timestamp()),
        stale=each.stale,
    )
