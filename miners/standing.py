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


def standings(overrides: Sequence[PriceOverride], now: float) -> list[Standing]:
    """Of each. Of one miner the newest in force hides the others; it must be among them."""
    at = clock.to_datetime(now)
    newest: dict[int, int] = {}
    for each in overrides:
        if _holds(each, at):
            newest[each.miner_id] = max(each.pk, newest.get(each.miner_id, 0))
    return [_standing(each, at, newest) for each in overrides]


def _holds(override: PriceOverride, at: datetime) -> bool:
    return override.valid_from <= at and (override.valid_until is None or override.valid_until > at)


def _standing(override: PriceOverride, at: datetime, newest: dict[int, int]) -> Standing:
    if override.valid_until is not None and override.valid_until <= at:
        return Standing.PAST
    if override.valid_from > at:
        return Standing.FUTURE
    return Standing.IN_FORCE if newest.get(override.miner_id) == override.pk else Standing.BEHIND


def overlapping(
    miner_pks: Collection[int], *, starts: datetime | None, ends: datetime | None
) -> QuerySet[PriceOverride]:
    """Overrides of these miners that would hold at some time of this window from now on; None: from now, for ever."""
    at = clock.to_datetime(clock.now())
    begins = at if starts is None else max(at, starts)
    later = Q(valid_until__isnull=True) | Q(valid_until__gt=begins)
    earlier = Q() if ends is None else Q(valid_from__lt=ends)
    return PriceOverride.objects.filter(later, earlier, miner__in=miner_pks).order_by("miner_id", "id")


def unseen(conflicts: Iterable[PriceOverride], seen: Collection[int]) -> list[PriceOverride]:
    return [each for each in conflicts if each.pk not in seen]
