"""Standing as one process counts it, behind the answers.

Promises. A match pays for a note of its request and of whom it offered: a few microseconds, whatever the number of
miners. `offered` and `first` count every match. All else is told by surveys of a random sample of matches, taken within
a second or so of the answer, on the pool as it is then; each stands for as many matches as it was drawn from. Surveys
take SHARE of this process's time: up to DRAWN a second while the pool is small, one in some seconds with 100,000
miners. Each process writes rows of its own, one an hour and shard of miners, anew every WRITE_S or, where that takes
long, every minute or so; a crash loses what it counted since. Dry runs do not count.
"""

import math
import os
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import transaction

from matching.models import StandingPart
from matching.queries import query_of, weights_by_default
from matching.reservations.runtime import get_ledger
from matching.scoring.types import Candidate
from matching.serializers import MatchRequest
from matching.standing.packing import pack
from matching.standing.survey import judge, look
from matching.standing.tally import Tally
from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common import clock

HOUR_S, HOURS = 3600, 24
SHARDS = 256
SHARE = 0.01  # of a core
LOOK_S, WRITE_S = 1.0, 5.0
BURST_S = 0.1
DRAWN = 64  # requests kept between two looks, a uniform sample of all
WRITE_SHARE = 0.02  # writing takes no more of the time than that
MAX_OFFERED = 100_000  # miners offered between two looks: beyond it some are not counted


@dataclass(slots=True)
class Noted:
    """Since the last look."""

    seen: int = 0
    drawn: list[MatchRequest] = field(default_factory=list)
    offered: dict[str, list[int]] = field(default_factory=dict)  # miner_id: times offered, times first


class Standing:
    def __init__(self, *, share: float = SHARE, drawn: int = DRAWN, seed: int | None = None) -> None:
        self._share = share
        self._draw = drawn
        self._random = random.Random(seed)  # noqa: S311 - a sample
        self._seed = seed
        self._lock = threading.Lock()  # of what matches note
        self._noted = Noted()
        self._working = threading.Lock()  # of everything below
        self._tally = Tally(seed)
        self._hour: int | None = None
        self._writer, self._pid = uuid.uuid4(), os.getpid()
        self._cost_s = 0.0  # of a survey
        self._earned_at = time.monotonic()
        self._write_at = 0.0
        self._watched = 0  # the process that the jobs run in

    def note(self, request: MatchRequest, offered: Sequence[Candidate]) -> None:
        """A match was answered; best candidate first."""
        with self._lock:
            noted = self._noted
            noted.seen += 1
            if len(noted.drawn) < self._draw:
                noted.drawn.append(request)
            elif (place := self._random.randrange(noted.seen)) < self._draw:
                noted.drawn[place] = request
            for rank, each in enumerate(offered):
                counts = noted.offered.get(each.miner_id)
                if counts is None and len(noted.offered) < MAX_OFFERED:
                    counts = noted.offered[each.miner_id] = [0, 0]
                if counts is not None:
                    counts[0] += 1
                    counts[1] += not rank
            watched, self._watched = self._watched, os.getpid()
        if watched != os.getpid():
            runtime.every(LOOK_S, self.look, "standing")
            runtime.every(WRITE_S, self.write, "standing-write")
            runtime.every(HOUR_S, standing_purge, "standing-purge")

    def look(self) -> int:
        """Survey what the time is there for; how many matches."""
        with self._working:
            self._begin_hour()
            registry = runtime.get_registry()
            self._take_offered(registry)
            requests, weights = self._drawn()
            for request, weight in zip(requests, weights, strict=True):
                started = time.perf_counter()
                self._survey(registry, request, weight)
                took_s = time.perf_counter() - started
                self._cost_s = took_s if not self._cost_s else 0.8 * self._cost_s + 0.2 * took_s
            return len(requests)

    def write(self) -> int:
        """Store this process's rows of the hour; how many."""
        with self._working:
            self._begin_hour()
            if time.monotonic() < self._write_at:
                return 0
            started = time.monotonic()
            stored = self._store()
            self._write_at = time.monotonic() + (time.monotonic() - started) / WRITE_SHARE
            return stored

    def _begin_hour(self) -> None:
        """Store what belongs to another hour, and begin afresh. What was forked has nothing of its own yet."""
        if os.getpid() != self._pid:
            self._tally, self._writer, self._pid = Tally(self._seed), uuid.uuid4(), os.getpid()
        hour = int(clock.now() // HOUR_S)
        if self._hour is not None and hour != self._hour:
            self._store()
            self._tally = Tally(self._seed)
        self._hour = hour

    def _take_offered(self, registry: Registry) -> None:
        with self._lock:
            offered, self._noted.offered = self._noted.offered, {}
        with registry.lock:
            keys = registry.columns.pk
            found = {
                slot: (int(keys[slot]), *counts)
                for miner_id, counts in offered.items()
                if (slot := registry.slots.get(miner_id)) is not None
            }
        self._tally.add_offered(found)  # type: ignore[arg-type]  # two counts each

    def _drawn(self) -> tuple[list[MatchRequest], list[int]]:
        """Requests to look at, and how many matches each stands for; none while the time for one is not earned."""
        now = time.monotonic()
        # what an idle hour earned is not spent at once
        earned_s = min((now - self._earned_at) * self._share, max(BURST_S, self._cost_s))
        with self._lock:
            noted = self._noted
            affordable = math.inf if not self._cost_s else earned_s / self._cost_s
            count = int(min(len(noted.drawn), affordable))
            if not count:
                return [], []
            self._noted = Noted(offered=noted.offered)
        self._earned_at = now
        base, more = divmod(noted.seen, count)
        return self._random.sample(noted.drawn, count), [base + (place < more) for place in range(count)]

    def _survey(self, registry: Registry, request: MatchRequest, weight: int) -> None:
        query = query_of(request, default_weights=weights_by_default())
        ledger = get_ledger()
        with registry.lock:
            now = clock.now()
            with ledger.without(request.job_id, now=now):
                seen, terms = look(registry, query, now)
        self._tally.add(judge(query, terms, seen), weight)

    def _store(self) -> int:
        assert self._hour is not None, "an hour has begun"
        rows = [
            StandingPart(hour=self._hour, writer=self._writer, shard=shard, data=pack(part))
            for shard, part in self._tally.parts(SHARDS)
        ]
        StandingPart.objects.bulk_create(
            rows, batch_size=64, update_conflicts=True, unique_fields=["hour", "writer", "shard"],
            update_fields=["data"],
        )  # fmt: skip
        return len(rows)


def standing_purge() -> int:
    """Delete rows that no answer takes any more; how many. Several processes may do it at once."""
    oldest = int(clock.now() // HOUR_S) - HOURS
    with transaction.atomic():
        old = StandingPart.objects.filter(hour__lt=oldest).select_for_update(skip_locked=True)
        return StandingPart.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()[0]


standing = Standing()
