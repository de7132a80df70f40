"""A job's miners are ranked and a slot of the first is taken, in one step under the registry's lock.

Guarantee: the jobs of a batch are answered as if each had been asked alone, one after another; those of a run, which
is up to RUN of them, at one moment, with latency ranks as of its first. Jobs that ask the same share the work.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from matching.queries import query_of, weights_by_default
from matching.reservations.base import Reservation, Unfilled, once_filled
from matching.reservations.ledger import Ledger
from matching.reservations.runtime import get_ledger
from matching.reservations.sharing import Claim, claim_of
from matching.reservations.table import reservations_writable
from matching.reservations.turns import turn
from matching.scoring import pipeline
from matching.scoring.shared import Shared
from matching.scoring.types import MatchResult, Query
from matching.serializers import DEFAULT_TTL_MS, MatchRequest
from miners.registry import runtime
from miners.registry.runtime import get_registry
from miners.registry.store import Registry
from poolhub.common import clock
from poolhub.common.errors import HubError, Unavailable

TRIES = 8  # where other processes take slots at the same moment
RUN = 64  # jobs of a batch under one hold of the lock: reports and other matches want it too …
HELD_S = 0.02  # … so after that long the run ends: a slow store, or very many miners


@dataclass(frozen=True, slots=True)
class Found:
    request: MatchRequest
    result: MatchResult
    granted: Reservation | None
    claim: Claim | None
    at: float  # epoch seconds
    took_s: float


def rank(request: MatchRequest) -> Found:
    """A reservation is taken; a hold is claimed, and other processes may have claimed the same slot."""
    started = time.perf_counter()
    query = query_of(request, default_weights=weights_by_default())
    registry, ledger = get_registry(), get_ledger()
    if _reserves(request):
        reservations_writable()
        runtime.catch_up()  # what other processes have reserved and released until now counts
    for _ in range(TRIES):
        with turn() if _reserves(request) else nullcontext(), registry.lock:
            step = _Step(registry, ledger, clock.now())
            taken = step.take(request, query, partial(pipeline.match, registry, now=step.now))
        if not taken.outrun:
            break
        runtime.catch_up()  # other processes were quicker: their reservations count in the next ranking
    return taken.found(request, at=step.now, started=started)


def rank_batch(asked: Sequence[MatchRequest | HubError]) -> list[Found | HubError]:
    """Each in its place; what was refused before stays as it is."""
    found: list[Found | HubError] = []
    while len(found) < len(asked):
        run = asked[len(found) : len(found) + RUN]
        answers = _run(run)
        found += answers
        if len(answers) < len(run):
            found.append(_alone(run[len(answers)]))
    return found


def _run(asked: Sequence[MatchRequest | HubError]) -> list[Found | HubError]:
    """The first of them, under one hold of the lock: up to one that has to wait for others, or until it took long."""
    registry, ledger = get_registry(), get_ledger()
    weights = weights_by_default()
    queries = {
        i: query_of(each, default_weights=weights) for i, each in enumerate(asked) if not isinstance(each, HubError)
    }
    found: list[Found | HubError] = []
    with ExitStack() as locks:
        unwritable = _prepare_to_reserve(asked, locks)
        locks.enter_context(registry.lock)
        until = time.perf_counter() + HELD_S
        step = _Step(registry, ledger, clock.now())
        shared = Shared(registry, queries.values(), now=step.now)
        with shared.watching():
            for i, each in enumerate(asked):
                if time.perf_counter() > until:
                    break
                if isinstance(each, HubError):
                    found.append(each)
                elif unwritable is not None and _reserves(each):
                    found.append(unwritable)
                else:
                    answer = step.answer(each, queries[i], shared.match)
                    if answer is None:
                        break
                    found.append(answer)
    return found


def _alone(request: MatchRequest | HubError) -> Found | HubError:
    """Without the lock while it waits."""
    if isinstance(request, HubError):
        return request
    try:
        return once_filled(partial(rank, request))
    except HubError as error:
        return error


def _prepare_to_reserve(asked: Sequence[MatchRequest | HubError], locks: ExitStack) -> Unavailable | None:
    """Why nothing can be reserved now; else it is this caller's turn."""
    if not any(not isinstance(each, HubError) and _reserves(each) for each in asked):
        return None
    try:
        reservations_writable()
        runtime.catch_up()
        locks.enter_context(turn())
    except Unavailable as error:
        return error
    return None


def _reserves(request: MatchRequest) -> bool:
    return bool(request.reserve) and not request.dry_run


@dataclass(frozen=True, slots=True)
class _Taken:
    result: MatchResult
    granted: Reservation | None
    claim: Claim | None
    outrun: bool  # by another process, that took the last slots

    def found(self, request: MatchRequest, *, at: float, started: float) -> Found:
        return Found(request, self.result, self.granted, self.claim, at, time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Step:
    """The registry's lock is held."""

    registry: Registry
    ledger: Ledger
    now: float

    def take(self, request: MatchRequest, query: Query, match: Callable[[Query], MatchResult]) -> _Taken:
        with self.ledger.without(request.job_id, now=self.now):
            result = match(query)
        if _reserves(request):
            granted = self._reserve(request, result)
            if granted is None:
                return _Taken(result, None, None, outrun=bool(result.candidates))
            return _Taken(self._with_first(request.job_id, query, result, granted.miner_id), granted, None, False)
        if request.dry_run or not settings.SOFT_HOLD_MS:
            return _Taken(result, None, None, outrun=False)
        return _Taken(result, None, self._hold(request, result), outrun=False)

    def answer(
        self, request: MatchRequest, query: Query, match: Callable[[Query], MatchResult]
    ) -> Found | HubError | None:
        """None where the job has to wait: for the store to be filled, or to catch up with other processes."""
        started = time.perf_counter()
        try:
            taken = self.take(request, query, match)
        except Unfilled:
            return None
        except HubError as error:
            return error
        return None if taken.outrun else taken.found(request, at=self.now, started=started)

    def _reserve(self, request: MatchRequest, result: MatchResult) -> Reservation | None:
        ttl_ms = DEFAULT_TTL_MS if request.reservation_ttl_ms is None else request.reservation_ttl_ms
        offered = [each.miner_id for each in result.candidates]
        return self.ledger.reserve(request.job_id, offered, ttl_ms=ttl_ms, now=self.now)

    def _hold(self, request: MatchRequest, result: MatchResult) -> Claim | None:
        offered = [each.miner_id for each in result.candidates]
        happened = self.ledger.hold(request.job_id, offered, ttl_ms=settings.SOFT_HOLD_MS, now=self.now)
        return claim_of(self.ledger, request.job_id, happened)

    def _with_first(self, job_id: str, query: Query, result: MatchResult, miner_id: str) -> MatchResult:
        """The same answer with this miner first, eligible or not: the job holds a slot of it."""
        first = next((each for each in result.candidates if each.miner_id == miner_id), None)
        if first is None:
            with self.ledger.without(job_id, now=self.now):
                first = pipeline.candidate(self.registry, query, miner_id, now=self.now)
        if first is None:
            return result
        others = [each for each in result.candidates if each.miner_id != miner_id]
        return replace(result, candidates=[first, *others][: query.top_k], explain=first.explain)
