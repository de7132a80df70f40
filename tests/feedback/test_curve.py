"""The curve of trust is the fold of the log, told or kept, however much of the log is looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.curve import STEPS, Told, curve, evidence_before
from feedback.trust import Evidence
from matching.reservations.holds import Outcome

pytestmark = pytest.mark.pure

DAY_S = 86_400.0
HALF_LIFE_S = 30 * DAY_S
START = 1_800_000_000.0

outcomes = st.builds(
    lambda outcome, code: (outcome, code if outcome is Outcome.FAILED else ""),
    st.sampled_from(Outcome),
    st.sampled_from(["", "oom", "timeout"]),
)
logs = st.lists(st.tuples(st.floats(0, 20 * DAY_S), outcomes), min_size=1, max_size=40)


def folded(log: list[tuple[float, tuple[Outcome, str]]]) -> tuple[list[Told], list[Evidence]]:
    """The log as told, and the evidence after each, as feedback folds it."""
    told, after = [], [Evidence(0.0, 0.0, START)]
    for later, (outcome, code) in log:
        at = after[-1].at + later
        told.append(Told(at, outcome, code))
        after.append(after[-1].faded(at, half_life_s=HALF_LIFE_S).told(outcome, code))
    return told, after


@given(log=logs, known=st.integers(1, 40), later=st.floats(0, 90 * DAY_S))
def test_each_point_is_the_trust_after_its_outcome_and_the_last_is_that_of_now(log, known, later) -> None:
    told, after = folded(log)
    told, now = told[-known:], after[-1].at + later
    points = curve(told, after[-1], now=now, half_life_s=HALF_LIFE_S)
    seen = [point.trust for point in points if point.told is not None]
    assert seen == pytest.approx([each.trust() for each in after[-len(told) :]], abs=1e-6)
    assert points[-1].trust == pytest.approx(after[-1].faded(now, half_life_s=HALF_LIFE_S).trust(), abs=1e-6)
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert len(points) <= 2 * len(told) + STEPS + 2


@given(log=logs, known=st.integers(1, 40))
def test_what_was_there_before_the_known_outcomes_follows_from_what_is_kept(log, known) -> None:
    told, after = folded(log)
    before = evidence_before(told[-known:], after[-1], half_life_s=HALF_LIFE_S)
    really = after[-len(told[-known:]) - 1].faded(before.at, half_life_s=HALF_LIFE_S)
    assert (before.s, before.f) == pytest.approx((really.s, really.f), abs=1e-4)


def test_a_miner_with_one_completed_job_went_from_one_half_to_three_fifths_and_back() -> None:
    told = [Told(START, Outcome.COMPLETED, "")]
    kept = Evidence(1.0, 0.0, START)
    points = curve(told, kept, now=START + HALF_LIFE_S, half_life_s=HALF_LIFE_S)
    assert points[0].trust == 0.5
    assert points[1].trust == 3 / 5  # (2 + 1) / (4 + 1)
    assert points[-1].trust == pytest.approx(2.5 / 4.5)  # half of it is forgotten
    assert len(points) > 30  # forgetting is a curve


def test_outcomes_so_long_ago_that_nothing_is_left_of_what_was_before_are_folded_from_nothing() -> None:
    told = [Told(START, Outcome.FAILED, ""), Told(START + 5000 * HALF_LIFE_S, Outcome.COMPLETED, "")]
    kept = Evidence(1.0, 0.0, told[-1].at)
    points = curve(told, kept, now=kept.at, half_life_s=HALF_LIFE_S)
    assert points[1].trust == 2 / 6
    assert points[-1].trust == 3 / 5
