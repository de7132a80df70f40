"""The database's own bounds, which hold whoever writes."""

import pytest
from django.db import IntegrityError, transaction

from feedback.models import Feedback
from matching.models import MatchRecord
from miners.models import Miner

pytestmark = pytest.mark.django_db


@pytest.fixture
def miner() -> Miner:
    return Miner.objects.create(miner_id="m1")


def refused(make) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make()


def tell(miner: Miner, outcome: str = "completed", job_id: str = "j1", **more) -> Feedback:
    return Feedback.objects.create(miner=miner, job_id=job_id, outcome=outcome, **more)


def test_an_outcome_is_told_once_of_a_job_on_a_miner(miner) -> None:
    tell(miner, "accepted")
    refused(lambda: tell(miner, "accepted"))
    tell(miner, "accepted", "j2")
    tell(Miner.objects.create(miner_id="m2"), "accepted")


@pytest.mark.parametrize(("first", "second"), [("completed", "failed"), ("failed", "completed")])
def test_a_job_on_a_miner_ends_once(miner, first, second) -> None:
    tell(miner, first)
    refused(lambda: tell(miner, second))
    for outcome in ("accepted", "rejected"):
        tell(miner, outcome)


def test_jobs_are_told_apart_by_every_character(miner) -> None:
    for job_id in ("j", "J", "j ", "é", "e\u0301"):
        tell(miner, job_id=job_id)
    assert Feedback.objects.count() == 5


@pytest.mark.parametrize("fields", [{"outcome": "lost"}, {"outcome": ""}, {"latency_ms": -1}, {"latency_ms": 1.1e12}])
def test_no_feedback_is_out_of_bounds(miner, fields) -> None:
    refused(lambda: tell(miner, **fields))


@pytest.mark.parametrize("latency_ms", [None, 0, 0.1, 10**12])
def test_the_bounds_themselves_are_kept(miner, latency_ms) -> None:
    tell(miner, latency_ms=latency_ms)
    assert Feedback.objects.get().latency_ms == latency_ms


def test_the_newest_comes_first_and_tells_what_it_is(miner) -> None:
    tell(miner, "accepted")
    tell(miner, "completed")
    assert [str(each) for each in Feedback.objects.all()] == ["j1: completed", "j1: accepted"]


def test_no_match_took_less_than_no_time() -> None:
    refused(lambda: MatchRecord.objects.create(job_id="j", latency_ms=-1))
