"""How price overrides stand: which is in force, which is behind it, which are to come or over; and which overlap."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from django.db.models import Q, QuerySet

from miners.models import PriceOverride
from poolhub.common import clock


class Standing(StrEnum):
    IN_FORCE = "in force"
    BEHIND = "in force, behind a newer one"
    FUTURE = "future"
    PAST = "past"


def standing_of(override: PriceOverride, now: float, *, hidden: bool) -> Standing:
    """hidden: by a newer one that is in force too."""
    at = clock.to_datetime(now)
    if override.valid_until is not None and override.valid_until <= at:
        return Standing.PAST
    if override.valid_from > at:
        return Standing.FUTURE
    return Standing.BEHIND if hidden else Standing.IN_FORCE


def standings(overrides: Sequence[PriceOverride], now: float) -> list[Standing]:
    """Of each. Of one miner the newest in force hides the others; it must be among them."""
    newest: dict[int, int] = {}
    for each in overrides:
        if standing_of(each, now, hidden=False) is Standing.IN_FORCE:
            newest[each.miner_id] = max(each.pk, newest.get(each.miner_id, 0))
    return [standing_of(each, now, hidden=newest.get(each.miner_id, 0) > each.pk) for each in overrides]


def overlapping(
    miner_pks: Collection[int], *, starts: datetime | None, ends: datetime | None
) -> QuerySet[PriceOverride]:
    """Overrides of these miners that would hold at some time of this window from now on; None: from now, for ever."""
    at = clock.to_datetime(clock.now())
    begins = at if starts is None else max(at, starts)
    later = Q(valid_until__isnull=True) | Q(valid_until__gt=begins)
    earlier = Q() if ends is None else Q(valid_from__lt=ends)
    return PriceOverride.objects.filter(later, earlier, miner__in=miner_pks).order_by("miner_id", "id")


def overlaps(other: PriceOverride, *, starts: datetime | None, ends: datetime | None) -> bool:
    """What `overlapping` asks, of one override and without a query."""
    at = clock.to_datetime(clock.now())
    begins = at if starts is None else max(at, starts)
    later = other.valid_until is None or other.valid_until > begins
    return later and (ends is None or other.valid_from < ends)


def unseen(conflicts: Iterable[PriceOverride], seen: Collection[int]) -> list[PriceOverride]:
    return [each for each in conflicts if each.pk not in seen]
