"""A job's hold, by what happened to it; whoever hears of it in whatever order ends with the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching.reservations.holds import KEPT_S, Hold, Job, Offered, Outcome, Told, Was
from tests.effort import effort

pytestmark = pytest.mark.pure

MINERS = ("m1", "m2", "m3")
TIMES = st.integers(0, 80).map(lambda eighths: eighths / 8)
OFFERED = st.builds(
    lambda at, found, ttl: Offered(at, tuple(found), at + ttl),
    TIMES, st.lists(st.sampled_from(MINERS), unique=True, max_size=3), st.sampled_from((0.5, 2.0)),
)  # fmt: skip
TOLD = st.builds(
    lambda at, miner, how: Told(at, miner, how, at + 60), TIMES, st.sampled_from(MINERS), st.sampled_from(Outcome)
)
TAKEN = st.builds(lambda at: Was(at, None), TIMES)
HAPPENED = st.lists(OFFERED | TOLD | TAKEN, max_size=8, unique_by=lambda each: each.at)


def after(*happened: Offered | Told | Was) -> Hold | None:
    job = Job("j")
    for each in happened:
        job.add(each)
    return job.hold


@given(happened=HAPPENED, data=st.data())
@effort(200)
def test_the_order_of_hearing_does_not_matter(happened, data) -> None:
    shuffled = data.draw(st.permutations(happened))
    in_time = after(*sorted(happened, key=lambda each: each.at))
    assert after(*shuffled) == in_time


def test_feedback_that_is_heard_before_its_answer_counts() -> None:
    offered, accepted = Offered(1.0, ("m1", "m2"), 3.0), Told(1.5, "m2", Outcome.ACCEPTED, 61.5)
    assert after(accepted, offered) == Hold("j", "m2", 61.5, ("m1", "m2"), accepted=True)


def test_feedback_after_the_holds_time_keeps_nothing() -> None:
    assert after(Offered(1.0, ("m1",), 3.0), Told(3.0, "m1", Outcome.ACCEPTED, 60.0)) is None


def test_an_accepted_hold_stays_where_it_is_when_the_job_is_asked_again() -> None:
    accepted = Told(1.5, "m1", Outcome.ACCEPTED, 61.5)
    found = after(Offered(1.0, ("m1",), 3.0), accepted, Offered(2.0, ("m2",), 4.0))
    assert found == Hold("j", "m1", 61.5, ("m2",), accepted=True)


def test_the_past_is_kept_short() -> None:
    job = Job("j")
    for i in range(1000):
        job.add(Offered(float(i), ("m1",), i + 2.0))
    assert len(job.happened) <= KEPT_S + 2
    assert job.hold == Hold("j", "m1", 1001.0, ("m1",))
