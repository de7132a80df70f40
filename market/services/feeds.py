"""Feeds: set up by operators, fetched by whoever is first.

Promises: a feed that fails keeps the prices that it gave last, and says since when and why it fails; the others go on.
A feed is fetched by one worker at a time: each puts off its next time before it fetches.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction

from access.audit import change_record
from market.feeds import Content, fetch, parsed, shown
from market.mapping import BadFeed, Mapped, Paths, Unit, mapped
from market.models import GpuAlias, MarketPrice, PriceFeed, PriceUnit
from market.services.medians import medians_rebuild
from miners.tokens import tokens
from poolhub.common import clock, outbound
from poolhub.common.metrics import MARKET_FETCHES

logger = logging.getLogger(__name__)

LEASE_S, RETRY_S = 120.0, 300.0
BATCH = 1000
SET = (
    "name", "enabled", "source", "interval_s", "rows_path", "model_path", "region_path", "price_path", "unit_path",
    "as_of_path",
)  # fmt: skip
MAX_TEXT = 300


class Went(StrEnum):
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Synced:
    feed: str
    went: Went
    detail: str


def prices_sync(*, stop: threading.Event | None = None) -> list[Synced]:
    """Fetch every feed that is due, one after another."""
    due = PriceFeed.objects.filter(enabled=True, next_at__lte=_now()).order_by("next_at")
    return feeds_sync(list(due), stop=stop)


def feeds_sync(feeds: Sequence[PriceFeed], *, stop: threading.Event | None = None) -> list[Synced]:
    """These feeds, due or not; one that another worker has taken meanwhile is left to it."""
    done: list[Synced] = []
    if not feeds:
        return done
    with outbound.Client(connections=1) as client:
        for feed in feeds:
            if stop is not None and stop.is_set():
                break
            if _take(feed):
                done.append(_sync(client, feed))
    return done


def feed_save(feed: PriceFeed) -> None:
    """A feed that was set up or changed is read anew, from nothing that was known of it."""
    with transaction.atomic():
        held = PriceFeed.objects.select_for_update().filter(pk=feed.pk).first()
        feed.etag = feed.last_modified = feed.digest = ""
        feed.next_at = _now()
        feed.save()
        before, after = {} if held is None else _told_of(held), _told_of(feed)
        changed = [name for name in after if before.get(name) != after[name]]
        if held is not None and held.headers != feed.headers and "headers" not in changed:
            changed.append("headers")  # a value, which nobody is shown
        if held is None or changed:
            change_record(
                action="added" if held is None else "changed",
                obj=feed,
                before={name: before[name] for name in changed if name in before},
                after={name: after[name] for name in changed},
            )
        medians_rebuild()


def feed_remove(feed: PriceFeed) -> None:
    """With its prices."""
    with transaction.atomic():
        change_record(action="removed", obj=feed, before=_told_of(feed), after={})
        feed.delete()
        medians_rebuild()


def _told_of(feed: PriceFeed) -> dict[str, Any]:
    """For the log: without what may be a key."""
    plain = {name: getattr(feed, name) for name in SET}
    return {**plain, "source": shown(feed.source), "headers": sorted(feed.headers)}


def units() -> dict[str, Unit]:
    return {each.name: Unit(each.tokens, each.seconds) for each in PriceUnit.objects.all()}


def _take(feed: PriceFeed) -> bool:
    until = _now() + timedelta(seconds=LEASE_S)
    return bool(PriceFeed.objects.filter(pk=feed.pk, next_at=feed.next_at).update(next_at=until))


def _sync(client: outbound.Client, feed: PriceFeed) -> Synced:
    headers: Mapping[str, str] = feed.headers
    try:
        content = fetch(client, feed.source, headers=headers, etag=feed.etag, last_modified=feed.last_modified)
        if content is None or content.digest == feed.digest:
            return _unchanged(feed, content)
        found = mapped(parsed(content.data), _paths(feed), units(), now=clock.now())
    except BadFeed as error:
        return _failed(feed, str(error))
    except Exception as error:  # whatever a stranger's data brings about, the other feeds go on
        logger.exception("price feed %s failed", feed.name)
        return _failed(feed, type(error).__name__)
    return _changed(feed, content, found)


def _changed(feed: PriceFeed, content: Content, found: Mapped) -> Synced:
    now, note = _now(), _note(found)
    aliases = dict(GpuAlias.objects.values_list("name", "model"))
    with transaction.atomic():
        held = PriceFeed.objects.select_for_update().filter(pk=feed.pk).first()
        if held is None:
            return _told(feed, Went.UNCHANGED, "the feed was removed meanwhile")
        batch = held.batch + 1
        MarketPrice.objects.bulk_create(
            [
                MarketPrice(
                    feed=feed, batch=batch, model=aliases.get(each.model, each.model), region=each.region,
                    price=tokens(each.price), as_of=clock.to_datetime(each.as_of), created_at=now,
                )
                for each in found.rows
            ],
            batch_size=BATCH,
        )  # fmt: skip
        _worked(
            feed, batch=batch, rows=len(found.rows), changed_at=now, note=note, etag=content.etag,
            last_modified=content.last_modified, digest=content.digest,
        )  # fmt: skip
        medians_rebuild()
    detail = f"{len(found.rows)} prices" + (f"; {note}" if note else "")
    return _told(feed, Went.CHANGED, detail)


def _unchanged(feed: PriceFeed, content: Content | None) -> Synced:
    tags = {} if content is None else {"etag": content.etag, "last_modified": content.last_modified}
    with transaction.atomic():
        _worked(feed, **tags)
        if feed.failing_since is not None:
            medians_rebuild()  # they are no longer stale
    return _told(feed, Went.UNCHANGED, f"{feed.rows} prices stand")


def _worked(feed: PriceFeed, **changes: object) -> None:
    now = _now()
    if feed.failing_since is not None:
        logger.warning("price feed %s works again", feed.name)
    PriceFeed.objects.filter(pk=feed.pk).update(
        checked_at=now, next_at=now + timedelta(seconds=feed.interval_s), failing_since=None, last_error="", **changes
    )


def _failed(feed: PriceFeed, error: str) -> Synced:
    now, error = _now(), _text(error)
    first = feed.failing_since is None
    with transaction.atomic():
        PriceFeed.objects.filter(pk=feed.pk).update(
            next_at=now + timedelta(seconds=min(feed.interval_s, RETRY_S)),
            failing_since=now if first else feed.failing_since,
            last_error=error,
        )
        if first:
            logger.warning("price feed %s fails, its last prices stay: %s", feed.name, error)
            medians_rebuild()  # they are stale from now on
    return _told(feed, Went.FAILED, error)


def _told(feed: PriceFeed, went: Went, detail: str) -> Synced:
    MARKET_FETCHES.labels(outcome=went.value).inc()
    return Synced(feed.name, went, detail)


def _paths(feed: PriceFeed) -> Paths:
    return Paths(
        rows=feed.rows_path,
        model=feed.model_path,
        region=feed.region_path,
        price=feed.price_path,
        unit=feed.unit_path,
        as_of=feed.as_of_path,
    )


def _note(found: Mapped) -> str:
    if not found.passed_over:
        return ""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in found.passed_over.most_common(3))
    return _text(f"{sum(found.passed_over.values())} rows passed over: {reasons}")


def _text(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_TEXT]


def _now() -> datetime:
    return clock.to_datetime(clock.now())
