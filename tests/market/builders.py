"""Feeds and prices: the shortest way to have a market."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings

from market.models import PriceFeed
from market.services.feeds import Synced, feed_save, feeds_sync

UNITS = {"token/ksec": (Decimal(1), 1000), "usd/hour": (Decimal("3.6"), 3600)}
PATHS = {"model_path": "gpu", "region_path": "region", "price_path": "price", "unit_path": "unit", "as_of_path": "at"}


def offer(gpu: str = "RTX 4090", price: Any = 1, region: str = "eu", **more: Any) -> dict[str, Any]:
    return {"gpu": gpu, "price": price, "region": region, "unit": "token/ksec", "at": "2027-01-15T07:00:00Z", **more}


def feed(name: str = "f", source: str = "", **fields: Any) -> PriceFeed:
    made = PriceFeed(name=name, source=source or f"{name}.json", **{**PATHS, **fields})
    feed_save(made)
    return made


def sync(name: str = "f") -> Synced:
    (done,) = feeds_sync([PriceFeed.objects.get(name=name)])
    return done


def tell(*offers: dict[str, Any], name: str = "f") -> Synced:
    """Have the feed of a file say this from now on."""
    if not PriceFeed.objects.filter(name=name).exists():
        feed(name)
    (Path(settings.MARKET_FEED_DIR) / f"{name}.json").write_text(json.dumps(offers))
    return sync(name)
