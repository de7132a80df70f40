"""Real races: N threads tell at once, and an exact count."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections as databases

from feedback.models import Feedback
from feedback.trust import Evidence
from matching.reservations.holds import Outcome
from poolhub.common import clock
from tests.feedback.builders import send
from tests.matching.builders import own, reservations, reserve
from tests.miners.builders import register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = 8
HALF_LIFE_S = 30 * 86_400


def at_once(work: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(AT_ONCE)

    def one(worker: int) -> Any:
        barrier.wait()
        try:
            return work(worker)
        finally:
            databases.close_all()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(AT_ONCE)))


def fold_of_the_log(miner_id: str = "m1") -> float:
    """Trust as of now, computed anew from what is kept."""
    evidence = Evidence(0.0, 0.0, 0.0)
    for each in Feedback.objects.filter(miner__miner_id=miner_id).order_by("created_at"):
        evidence = evidence.faded(each.created_at.timestamp(), half_life_s=HALF_LIFE_S)
        evidence = evidence.told(Outcome(each.outcome), each.fail_code)
    return evidence.faded(clock.now(), half_life_s=HALF_LIFE_S).trust()


@pytest.mark.parametrize("outcome", ["completed", "rejected"])
def test_the_same_told_by_many_is_kept_once(outcome) -> None:
    register()
    replies = at_once(lambda worker: send(outcome, latency_ms=100))
    assert Counter(reply.status_code for reply in replies) == {201: 1, 200: AT_ONCE - 1}
    assert len({reply.json()["trust_score"] for reply in replies}) == 1
    assert Feedback.objects.count() == stored().latency_count == 1
    assert view().trust == pytest.approx(fold_of_the_log())


def test_of_two_final_outcomes_one_is_kept() -> None:
    register()
    replies = at_once(lambda worker: send("completed" if worker % 2 else "failed"))
    kept = Feedback.objects.get().outcome
    statuses = {name: Counter(r.status_code for r in replies[i::2]) for i, name in enumerate(("failed", "completed"))}
    other = {"failed": "completed", "completed": "failed"}[kept]
    assert statuses == {kept: {201: 1, 200: AT_ONCE // 2 - 1}, other: {409: AT_ONCE // 2}}
    assert view().trust == pytest.approx(fold_of_the_log())


def test_no_outcome_is_lost_among_many_jobs(fake_clock) -> None:
    register("m1")
    register("m2")
    outcomes = ("accepted", "rejected", "failed", "completed")

    def work(worker: int) -> list[int]:
        found = []
        for i in range(8):
            fake_clock.advance(3600)
            reply = send(outcomes[i % 4], f"m{worker % 2 + 1}", f"j{worker}-{i}", latency_ms=i, fail_code="network")
            found.append(reply.status_code)
        return found

    assert Counter(status for found in at_once(work) for status in found) == {201: AT_ONCE * 8}
    for miner_id in ("m1", "m2"):
        miner = stored(miner_id)
        assert (miner.latency_count, miner.latency_mean) == (32, pytest.approx(3.5))
        assert view(miner_id).row.version == miner.version
        assert view(miner_id).trust == pytest.approx(fold_of_the_log(miner_id))


def test_a_reservation_that_many_end_is_ended_once(client) -> None:
    register(max_parallel=3)
    for job_id in ("j1", "j2", "j3"):
        reserve(client, job_id)
    at_once(lambda worker: send("completed", job_id="j1"))
    assert (sorted(each.job_id for each in reservations()), own("m1")) == (["j2", "j3"], 2)
