"""Standing subscriptions: whose answer may have changed is ranked again, and told where it has.

Promises. Each subscriber is told its first answer, and afterwards whenever the candidates or their order change: every
PERIOD_S at most, and the newest state in the end. A subscription is ranked again only where a miner that it could take
has changed, or after REFRESH_S, since parts of the score drift all the time. All subscriptions of a process take SHARE
of one core at most: where that is too little, updates come less often, and matches stay quick.

Nothing is held and nothing is recorded. One thread works for all of them, while there are any.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from matching.queries import query_of, weights_by_default
from matching.scoring import filtering, pipeline
from matching.scoring.types import MatchResult, Query
from matching.serializers import MatchRequest
from miners.registry.bitmaps import Words
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from miners.registry.watch import Changes, Watch
from poolhub.common import clock
from poolhub.common.metrics import STREAM_RANKINGS

logger = logging.getLogger(__name__)

PERIOD_S = 0.1
REFRESH_S = 5.0
SHARE = 0.1
NOBODY: Words = np.zeros(0, np.uint64)


@dataclass(eq=False, slots=True)
class Subscription:
    query: Query
    tell: "Tell"  # called in the thread of this module; must not wait
    offered: list[str] | None = None  # the miners of the newest answer
    told_at: float = -PERIOD_S  # time.monotonic
    ranked_at: float = -REFRESH_S
    changed: Words = field(default_factory=lambda: NOBODY)  # miners, since it was looked at
    takes: Words = field(default_factory=lambda: NOBODY)  # whom its constraints on profiles let pass
    stale: bool = True  # profiles have changed since `takes`
    ended: bool = False


Tell = Callable[[Subscription, MatchResult], None]


class Subscriptions:
    """All of one process."""

    def __init__(self, registry: Callable[[], Registry] = get_registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._turn: deque[Subscription] = deque()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def add(self, request: MatchRequest, tell: Tell) -> Subscription:
        made = Subscription(query_of(request, default_weights=weights_by_default()), tell)
        with self._lock:
            self._turn.appendleft(made)  # its first answer comes before other ones' next
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hub-streams", daemon=True)
                self._thread.start()
        self._wake.set()
        return made

    def drop(self, subscription: Subscription) -> None:
        """Harmless where it is gone already; an answer under way may still be told."""
        subscription.ended = True
        with self._lock:
            if subscription in self._turn:
                self._turn.remove(subscription)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._turn)

    # ---- the thread

    def _work(self) -> None:
        watch: Watch | None = None
        registry: Registry | None = None
        while True:
            self._wake.clear()
            with self._lock:
                if not self._turn:
                    self._thread = None
                    return
            began = time.thread_time()
            try:
                if registry is not (held := self._registry()) or watch is None:
                    registry, watch = held, Watch(held)
                self._round(registry, watch)
            except Exception:  # the thread outlives whatever one round meets
                logger.exception("a round of match subscriptions failed")
            self._rest(time.thread_time() - began)

    def _rest(self, spent_s: float) -> None:
        """Until the next round; a new subscription is not kept waiting, unless its share is spent."""
        pause = spent_s / SHARE - spent_s
        time.sleep(pause)
        self._wake.wait(max(0.0, PERIOD_S - pause))

    def _round(self, registry: Registry, watch: Watch) -> None:
        """Look at everybody once, as far as the share of one period goes; the rest has its turn in the next round."""
        with registry.lock:
            changes = watch.look(clock.now())
        with self._lock:
            all_now = list(self._turn)
        for each in all_now:
            _note(each, changes)
        waiting = len(all_now)
        until = time.thread_time() + PERIOD_S * SHARE
        while waiting and time.thread_time() < until:
            with self._lock:
                if not self._turn:
                    return
                each = self._turn.popleft()
                self._turn.append(each)
            waiting -= 1
            if time.monotonic() - each.told_at >= PERIOD_S:
                self._look(registry, each)

    def _look(self, registry: Registry, each: Subscription) -> None:
        started = time.monotonic()
        with registry.lock:
            now = clock.now()
            if not _may_differ(registry, each, now) and started - each.ranked_at < REFRESH_S:
                return
            result = pipeline.match(registry, each.query, now=now)
        STREAM_RANKINGS.inc()
        each.ranked_at = started
        offered = [candidate.miner_id for candidate in result.candidates]
        if offered != each.offered and not each.ended:
            each.offered, each.told_at = offered, started
            each.tell(each, result)


def _note(each: Subscription, changes: Changes) -> None:
    """Keep who has changed in what this subscription asks for, until it is looked at."""
    changed = _union(each.changed, changes.standing)
    if each.query.deadline_ms is not None:
        changed = _union(changed, changes.eta)
    if each.query.min_mem_free_gb is not None:
        changed = _union(changed, changes.mem_free)
    each.changed = changed
    each.stale |= bool(changes.profile.any())


def _may_differ(registry: Registry, each: Subscription, now: float) -> bool:
    """Whether anybody has changed whom it takes, or took."""
    takes = each.takes
    if each.stale:
        each.takes, each.stale = filtering.by_profile(registry, each.query, now), False
        takes = _union(takes, each.takes)
    changed, each.changed = each.changed, NOBODY
    size = min(len(takes), len(changed))
    return bool((takes[:size] & changed[:size]).any())


def _union(one: Words, other: Words) -> Words:
    """Of sets of different lengths, too: the registry may have grown meanwhile."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    made = longer.copy()
    made[: len(shorter)] |= shorter
    return made
