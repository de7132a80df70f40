"""A miner's standing over the last day, from what all processes have written."""

from matching.models import StandingPart
from matching.scoring.filters import CONSTRAINTS
from matching.serializers import StandingAnswer
from matching.standing.adding import added, lower_median, upper_median
from matching.standing.counting import HOUR_S, HOURS, SHARDS
from matching.standing.packing import unpack
from miners.registry.prices import UNITS
from miners.registry.runtime import get_registry
from poolhub.common import clock
from poolhub.common.errors import NotFound


def standing_get(miner_id: str) -> StandingAnswer:
    """Of the running hour and the 24 before it."""
    now = clock.now()
    view = get_registry().get(miner_id, now=now)
    if view is None:
        raise NotFound(f"no miner {miner_id}")
    pk, since = view.row.pk, int(now // HOUR_S) - HOURS
    rows = StandingPart.objects.filter(hour__gte=since, shard=pk % SHARDS).values_list("data", flat=True)
    parts = [part for data in rows.iterator(64) if (part := unpack(bytes(data))) is not None]
    found = added(parts, pk)
    sums = {name: round(value) for name, value in found.sums.items()}
    rejected = {name: count for name in CONSTRAINTS if (count := round(found.rejected[name]))}
    eligible = sums.get("eligible", 0)
    wanted = upper_median(found.prices)
    return StandingAnswer(
        miner_id=miner_id,
        since=clock.to_rfc3339(since * HOUR_S),
        considered=eligible + sum(rejected.values()),
        eligible=eligible,
        offered=sums.get("offered", 0),
        first=sums.get("first", 0),
        rejected=rejected,
        median_rank=lower_median(found.ranks),
        rank_percentile=round(found.sums["percentile"] / eligible, 2) if eligible else None,
        lost_on_price=sums.get("lost", 0),
        price=view.price / UNITS,
        price_to_be_first=None if wanted is None else wanted / UNITS,
        surveys=round(found.sums["surveys"]),
    )
