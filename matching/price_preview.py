"""What a price override would change: recent matches ranked twice, with the prices of now and with the new one.

Both times against the pool as it is now, so that nothing but the price differs: not as it was when they were made. The
pool is looked at and never changed; the registry's lock is held for two rankings at a time.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
import numpy as np

from matching.models import MatchRecord
from matching.queries import NO_HINTS, query_of, weights_by_default
from matching.reservations.runtime import get_ledger
from matching.scoring import pipeline
from matching.serializers import MatchRequest
from miners.registry.runtime import get_registry
from poolhub.common import clock, codec
from poolhub.common.errors import HubError
from poolhub.common.fields import price_units

MAX_MATCHES, MAX_EXAMPLES = 200, 5

Ranking = list[str]  # miner ids, best first


@dataclass(frozen=True, slots=True)
class Example:
    job_id: str
    before: str  # the first candidate, "" for nobody
    after: str


@dataclass(slots=True)
class Preview:
    looked_at: int = 0
    unreadable: int = 0  # of another version
    first_changes: int = 0
    offered_changes: int = 0
    first_before: int = 0  # matches whose first candidate is one of the miners
    first_after: int = 0
    offered_before: int = 0  # matches that offer one of them
    offered_after: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, job_id: str, before: Ranking, after: Ranking, chosen: Collection[str]) -> None:
        self.looked_at += 1
        first, then = (ranking[0] if ranking else "" for ranking in (before, after))
        self.first_before += first in chosen
        self.first_after += then in chosen
        self.offered_before += any(each in chosen for each in before)
        self.offered_after += any(each in chosen for each in after)
        self.offered_changes += set(before) != set(after)
        if first != then:
            self.first_changes += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(Example(job_id, first, then))


def price_preview(*, miner_ids: Collection[str], price: Decimal, matches: int = MAX_MATCHES) -> Preview:
    """Of the last so many recorded matches."""
    chosen, preview = frozenset(miner_ids), Preview()
    for asked in MatchRecord.objects.order_by("-id").values_list("request", flat=True)[:matches]:
        request = _read(asked)
        if request is None:
            preview.unreadable += 1
            continue
        before, after = _rank_twice(request, chosen, price_units(price))
        preview.add(request.job_id, before, after, chosen)
    return preview


def _read(asked: object) -> MatchRequest | None:
    try:
        request: MatchRequest = codec.convert(asked, MatchRequest)
    except HubError:
        return None
    hints = msgspec.structs.replace(request.hints or NO_HINTS, explain="short")
    return msgspec.structs.replace(request, hints=hints)


def _rank_twice(request: MatchRequest, chosen: Collection[str], units: int) -> tuple[Ranking, Ranking]:
    query = query_of(request, default_weights=weights_by_default())
    registry, ledger = get_registry(), get_ledger()
    with registry.lock:
        now = clock.now()
        with ledger.without(request.job_id, now=now):
            registry.refresh(now)
            before = pipeline.match(registry, query, now=now)
            known = [registry.slots[each] for each in chosen if each in registry.slots]
            with registry.prices.supposed(np.array(known, np.intp), units):
                after = pipeline.match(registry, query, now=now)
    return [each.miner_id for each in before.candidates], [each.miner_id for each in after.candidates]
