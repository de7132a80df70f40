"""What coordinators tell of jobs: kept, folded into the miner's trust, and told to the ledger."""

from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from django.conf import settings
from django.db import transaction

from feedback import receivers
from feedback.models import Feedback
from feedback.trust import FINAL, Evidence
from matching.reservations.durable import job_settle
from matching.reservations.holds import Outcome
from matching.reservations.table import reservations_end_of_job
from miners.models import Miner
from miners.services.evidence import miner_record_evidence
from miners.services.rows import changing, miner_lock_known
from poolhub.common import clock
from poolhub.common.errors import Conflict
from poolhub.common.metrics import FEEDBACK
from poolhub.common.tracing import note, span

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Recorded:
    trust: float  # as of now
    duplicate: bool


def feedback_record(
    *,
    job_id: str,
    miner_id: str,
    outcome: Outcome,
    latency_ms: float | None = None,
    fail_code: str | None = None,
    tokens_spent: Decimal | None = None,
) -> Recorded:
    """Committed before it returns; a repeat changes nothing. Raises NotFound, and Conflict on a second final outcome.

    The miner's row is locked from before the look for a repeat, so two tellers of one job come one after the other.
    """
    half_life_s = settings.TRUST_HALF_LIFE_DAYS * DAY_S
    with span("feedback"), changing():
        note(job_id=job_id)
        miner = miner_lock_known(miner_id)
        now = clock.now()  # with the lock held, so that the log is in the order in which it was folded
        evidence = evidence_of(miner).faded(now, half_life_s=half_life_s)
        told = set(Feedback.objects.filter(miner=miner, job_id=job_id).values_list("outcome", flat=True))
        if outcome in told:
            return Recorded(evidence.trust(), duplicate=True)
        if outcome in FINAL and told & set(FINAL):
            raise Conflict(f"job {job_id} on {miner_id} has another final outcome already", code="final_outcome_known")
        made = Feedback.objects.create(
            miner=miner, job_id=job_id, outcome=outcome, latency_ms=latency_ms, fail_code=fail_code or "",
            tokens_spent=tokens_spent, created_at=clock.to_datetime(now),
        )  # fmt: skip
        evidence = evidence.told(outcome, fail_code)
        miner_record_evidence(
            miner=miner, trust_s=evidence.s, trust_f=evidence.f, trust_at=evidence.at, latency_ms=latency_ms
        )
        receivers.tell(receivers.NewFeedback(made, miner))
        ended = _end_reservations(job_id, miner_id, outcome)
        transaction.on_commit(partial(_settle, job_id, miner_id, outcome, ended))
    return Recorded(evidence.trust(), duplicate=False)


def evidence_of(miner: Miner) -> Evidence:
    return Evidence(miner.trust_s, miner.trust_f, miner.trust_at.timestamp())


def _end_reservations(job_id: str, miner_id: str, outcome: Outcome) -> list[str]:
    """In the same transaction; those of the job, or where the miner rejected it, that miner's."""
    if outcome is Outcome.ACCEPTED:
        return []
    return reservations_end_of_job(job_id=job_id, miner_id=miner_id if outcome is Outcome.REJECTED else None)


def _settle(job_id: str, miner_id: str, outcome: Outcome, ended: list[str]) -> None:
    job_settle(job_id=job_id, miner_id=miner_id, outcome=outcome, ended=ended)
    FEEDBACK.labels(outcome=outcome.value).inc()
