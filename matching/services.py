"""Matches and reservations: what the views and later the stream ask for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from msgspec import UNSET, Raw

from matching.queries import query_of, weights_by_default
from matching.ranking import TRIES, Found, rank, rank_batch
from matching.records import Matched, records
from matching.reservations.base import Reservation, once_filled
from matching.reservations.durable import reservation_end, reservations_keep
from matching.reservations.runtime import claims_lost, get_ledger, position
from matching.reservations.table import reservations_writable
from matching.reservations.turns import turn
from matching.scoring import pipeline
from matching.scoring.filters import CONSTRAINTS
from matching.scoring.types import Candidate, MatchResult, Relaxation
from matching.serializers import (
    CandidateAnswer,
    ComponentsAnswer,
    FailureAnswer,
    GrantAnswer,
    MatchAnswer,
    MatchRequest,
    RelaxationAnswer,
    ReservationAnswer,
    WhyNotAnswer,
    WhyNotRequest,
)
from matching.standing.counting import standing
from miners.registry.runtime import get_registry
from poolhub.common import clock, codec
from poolhub.common.errors import HubError, NotFound, Unavailable
from poolhub.common.metrics import MATCH_EMPTY, MATCH_LATENCY, MATCH_REJECTIONS, MATCH_REQUESTS
from poolhub.common.tracing import note, span

# looked up once: finding a label's counter costs more than counting
MATCHED, EMPTY = (MATCH_REQUESTS.labels(outcome=outcome) for outcome in ("matched", "empty"))
REJECTIONS = {name: MATCH_REJECTIONS.labels(constraint=name) for name in CONSTRAINTS}
NO_MINERS = "no miners"
EMPTIES = {name: MATCH_EMPTY.labels(constraint=name) for name in (*CONSTRAINTS, NO_MINERS)}


def match_find(*, request: MatchRequest) -> MatchAnswer:
    """The best candidates for a job, and a slot of the first: held, or reserved where that is asked.

    Scoring and the slot are one step under the registry's lock, so no two matches of this process take the same slot;
    over several processes the store decides on reservations, and the order of the event stream on holds: a loser
    ranks anew.
    Raises Unavailable where a reservation is asked for that cannot be decided or kept.
    """
    started = time.perf_counter()
    with span("match"):
        note(job_id=request.job_id)
        found = once_filled(partial(_find, request))
        with span("keep"):
            kept = reservations_keep([found.granted] if found.granted else [])
        with span("answer"):
            return _told(found, kept, started=started)


def match_batch(*, requests: Sequence[Raw]) -> list[MatchAnswer | HubError]:
    """Each answered in turn, as match_find would; a request that is refused has its error in its place.

    What several ask alike is worked out once. The reservations are stored in one go.
    """
    since = position()
    found = rank_batch([_read(raw) for raw in requests])
    claims = [each.claim for each in found if isinstance(each, Found) and each.claim]
    lost = claims_lost(claims, since=since)
    found = [_find(each.request) if isinstance(each, Found) and each.claim in lost else each for each in found]
    granted = [each.granted for each in found if isinstance(each, Found) and each.granted]
    kept: Mapping[str, Reservation] | Unavailable
    try:
        kept = reservations_keep(granted)
    except Unavailable as error:
        kept = error
    return [each if isinstance(each, HubError) else _told_or_refused(each, kept) for each in found]


def match_why_not(*, request: WhyNotRequest) -> WhyNotAnswer:
    """Every constraint that one miner fails now, and its rank where it fails none. Raises NotFound."""
    query = query_of(request, default_weights=weights_by_default())
    registry, ledger = get_registry(), get_ledger()
    with registry.lock:
        now = clock.now()
        with ledger.without(request.job_id, now=now):
            found = pipeline.why_not(registry, query, request.miner_id, now=now)
    if found is None:
        raise NotFound(f"no miner {request.miner_id}")
    failed = [FailureAnswer(each.constraint, each.asked, each.actual, each.transient) for each in found.failed]
    return WhyNotAnswer(miner_id=found.miner_id, eligible=found.eligible, rank=found.rank, failed=failed)


def reservation_renew(*, reservation_id: str, ttl_ms: int | None) -> ReservationAnswer:
    reservations_writable()
    renewed = once_filled(partial(_renewed, reservation_id, ttl_ms))
    kept = reservations_keep([renewed] if renewed else [])
    if renewed is None or renewed.id not in kept:
        raise NotFound("This reservation has ended, or never was.")
    return reservation_answer(kept[renewed.id])


def _renewed(reservation_id: str, ttl_ms: int | None) -> Reservation | None:
    with turn():
        return get_ledger().renew(reservation_id, ttl_ms=ttl_ms, now=clock.now())


def reservation_release(*, reservation_id: str) -> None:
    reservation_end(reservation_id)


def reservation_list() -> list[ReservationAnswer]:
    return [reservation_answer(each) for each in once_filled(lambda: get_ledger().live(now=clock.now()))]


def reservation_answer(each: Reservation) -> ReservationAnswer:
    return ReservationAnswer(
        id=each.id, job_id=each.job_id, miner_id=each.miner_id, expires_at=clock.to_rfc3339(each.expires_at)
    )


def _find(request: MatchRequest) -> Found:
    """The slot is taken, over all processes; a reservation may not be answered before it is kept."""
    started = time.perf_counter()
    for _ in range(TRIES):
        since = position()
        with span("rank"):
            found = rank(request)
        with span("claim"):
            lost = found.claim is not None and claims_lost([found.claim], since=since)
        if not lost:
            break
    return replace(found, took_s=time.perf_counter() - started)


def _read(raw: Raw) -> MatchRequest | HubError:
    try:
        return codec.decode(bytes(raw), MatchRequest)
    except HubError as error:
        return error


def _told(found: Found, kept: Mapping[str, Reservation], *, started: float) -> MatchAnswer:
    """The answer, counted and recorded."""
    granted = None
    if found.granted is not None:
        granted = kept.get(found.granted.id)
        if granted is None:
            raise Unavailable("The reservation ended before it could be answered. Ask again.")
    answer = match_answer(found.request.job_id, found.result, granted)
    latency_ms = (time.perf_counter() - started) * 1000
    _count(found.result, latency_ms)
    if not found.request.dry_run:
        records.add(Matched(found.request, answer, found.at, latency_ms, found.result.candidates))
        standing.note(found.request, found.result.candidates)
    return answer


def _told_or_refused(found: Found, kept: Mapping[str, Reservation] | Unavailable) -> MatchAnswer | HubError:
    """For a batch: without the time that the others took."""
    if isinstance(kept, Unavailable):
        if found.granted is not None:
            return kept
        kept = {}
    try:
        return _told(found, kept, started=time.perf_counter() - found.took_s)
    except Unavailable as error:
        return error


def match_answer(job_id: str, result: MatchResult, granted: Reservation | None = None) -> MatchAnswer:
    answer = MatchAnswer(
        job_id=job_id,
        candidates=[_candidate(each) for each in result.candidates],
        explain=result.explain,
        considered=result.considered,
        eligible=result.eligible,
        rejected=result.rejected,
    )
    if result.relaxations is not None:
        answer.relaxations = [_relaxation(each) for each in result.relaxations]
    if granted is not None:
        answer.reservation = GrantAnswer(granted.id, granted.miner_id, clock.to_rfc3339(granted.expires_at))
    return answer


def _candidate(each: Candidate) -> CandidateAnswer:
    parts = each.components
    return CandidateAnswer(
        miner_id=each.miner_id,
        addr=each.addr,
        proto=each.proto,
        score=each.score,
        eta_ms=each.eta_ms,
        price=each.price,
        region=each.region,
        gpu_name=each.gpu_name,
        components=ComponentsAnswer(parts.cap, parts.price, parts.latency, parts.trust, parts.load),
        explain=each.explain,
    )


def _relaxation(each: Relaxation) -> RelaxationAnswer:
    relax_to = UNSET if each.relax_to is None else each.relax_to
    return RelaxationAnswer(each.constraint, each.asked, each.adds, relax_to)


def _count(result: MatchResult, latency_ms: float) -> None:
    MATCH_LATENCY.observe(latency_ms)
    if result.candidates:
        MATCHED.inc()
    else:
        EMPTY.inc()
        EMPTIES[max(result.rejected, key=result.rejected.__getitem__, default=NO_MINERS)].inc()
    for constraint, number in result.rejected.items():
        REJECTIONS[constraint].inc(number)
