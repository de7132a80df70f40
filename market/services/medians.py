"""The medians, made anew from the prices that count, with a version that every process can look at."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from market import runtime, statistics
from market.models import ALL_REGIONS, GpuAlias, MarketDay, MarketMedian, MarketPrice, MarketVersion, PriceFeed
from miners.tokens import tokens
from poolhub.common import clock

ROW = 1  # the key of the only MarketVersion
BATCH = 1000
KEEP_PRICES = timedelta(days=7)
OVERDUE = 3  # a feed is stale without an answer for so many of its intervals
PURGE_CHUNK = 1000


def medians_rebuild() -> None:
    """Part of the caller's transaction where there is one; other processes are told after the commit."""
    with transaction.atomic():
        version_raise()
        aliases_apply()
        now = clock.now()
        today = clock.to_datetime(now).toordinal()
        spreads = statistics.spreads()
        grids, times, stale = statistics.quantiles(), _times(), _stale_keys()
        _write_days(spreads, today)
        trends = statistics.trends(today)
        MarketMedian.objects.all().delete()
        MarketMedian.objects.bulk_create(
            [
                MarketMedian(
                    model=each.model, region=each.region, count=each.count, low=tokens(each.low), q1=tokens(each.q1),
                    median=tokens(each.median), q3=tokens(each.q3), high=tokens(each.high),
                    trend=trends.get((each.model, each.region)), quantiles=grids[each.model, each.region],
                    as_of=times[each.model, each.region], stale=(each.model, each.region) in stale,
                )
                for each in spreads
            ],
            batch_size=BATCH,
        )  # fmt: skip


def version_raise() -> None:
    """First in a transaction: it holds off whoever else would write the medians."""
    MarketVersion.objects.get_or_create(pk=ROW)
    MarketVersion.objects.filter(pk=ROW).update(version=F("version") + 1)
    transaction.on_commit(runtime.tell)


def aliases_apply() -> None:
    """Have the prices that count speak of the models that the aliases name now."""
    for alias in GpuAlias.objects.all():
        current().filter(model=alias.name).update(model=alias.model)


def current() -> QuerySet[MarketPrice]:
    """The prices that count."""
    return MarketPrice.objects.filter(feed__enabled=True, batch=F("feed__batch"))


def prices_purge() -> int:
    """Prices older than a week that no longer count, in short transactions; how many."""
    oldest = clock.to_datetime(clock.now()) - KEEP_PRICES
    old = MarketPrice.objects.filter(~Q(batch=F("feed__batch")), created_at__lt=oldest)
    deleted = 0
    while True:
        chunk = list(old.values_list("pk", flat=True)[:PURGE_CHUNK])
        if not chunk:
            return deleted
        deleted += MarketPrice.objects.filter(pk__in=chunk).delete()[0]


def market_purge() -> int:
    """Prices that no longer count, and days older than MARKET_HISTORY_DAYS (0 = none); how many."""
    deleted = prices_purge()
    if settings.MARKET_HISTORY_DAYS:
        oldest = clock.to_datetime(clock.now()) - timedelta(days=settings.MARKET_HISTORY_DAYS)
        deleted += MarketDay.objects.filter(day__lt=oldest.toordinal()).delete()[0]
    return deleted


def is_stale(feed: PriceFeed) -> bool:
    """Whether its prices are older than they should be."""
    if feed.failing_since is not None:
        return True
    late = timedelta(seconds=OVERDUE * feed.interval_s)
    return feed.checked_at is not None and feed.checked_at + late < clock.to_datetime(clock.now())


def _write_days(spreads: list[statistics.Spread], today: int) -> None:
    rows = [
        MarketDay(
            day=today, model=each.model, region=each.region, count=each.count, q1=tokens(each.q1),
            median=tokens(each.median), q3=tokens(each.q3),
        )
        for each in spreads
    ]  # fmt: skip
    MarketDay.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["model", "region", "day"],
        update_fields=["count", "q1", "median", "q3"],
    )


def _times() -> dict[tuple[str, str], Any]:
    """The newest time of each, and of all regions together."""
    rows = current().values("model", "region").annotate(at=Max("as_of")).order_by()
    found = {(row["model"], row["region"]): row["at"] for row in rows}
    for (model, _), at in list(found.items()):
        key = (model, ALL_REGIONS)
        found[key] = max(found.get(key, at), at)
    return found


def _stale_keys() -> set[tuple[str, str]]:
    stale = [feed.pk for feed in PriceFeed.objects.filter(enabled=True) if is_stale(feed)]
    found = set(current().filter(feed__in=stale).values_list("model", "region").distinct().order_by())
    return found | {(model, ALL_REGIONS) for model, _ in found}
