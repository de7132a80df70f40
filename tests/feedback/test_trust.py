"""Trust: a Beta mean with forgetting (contract, section 5), with the arithmetic spelled out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.trust import FINAL, TRANSIENT, Evidence, weight
from matching.reservations.holds import Outcome
from tests.effort import effort

NOW, DAY_S = 1_800_000_000.0, 86_400.0
HALF_LIFE_S = 30 * DAY_S
NEW = Evidence(0.0, 0.0, NOW)

OUTCOMES = st.tuples(st.sampled_from(list(Outcome)), st.sampled_from((None, "", "oom", "crash", *sorted(TRANSIENT))))
COUNTS = st.floats(0, 1e9)
EVIDENCE = st.builds(Evidence, COUNTS, COUNTS, st.just(NOW))
SECONDS = st.floats(0, 3e9)


@pytest.mark.parametrize(
    ("outcome", "fail_code", "adds"),
    [
        ("completed", None, (1, 0)),
        ("completed", "timeout", (1, 0)),  # a code says nothing of a success
        ("failed", None, (0, 2)),
        ("failed", "", (0, 2)),
        ("failed", "oom", (0, 2)),
        ("failed", "Timeout", (0, 2)),  # codes are words, compared as they are
        ("failed", "timeout", (0, 0.5)),
        ("failed", "network", (0, 0.5)),
        ("failed", "preempted", (0, 0.5)),
        ("rejected", None, (0, 0.25)),
        ("rejected", "timeout", (0, 0.25)),
        ("accepted", None, (0, 0)),
    ],
)
def test_what_an_outcome_adds_to_successes_and_failures(outcome, fail_code, adds) -> None:
    assert weight(Outcome(outcome), fail_code) == adds


@pytest.mark.parametrize(
    ("history", "trust"),
    [
        ([], 0.5),  # 2 / 4
        (["completed"], 0.6),  # 3 / 5
        (["completed"] * 4, 0.75),  # 6 / 8
        (["completed"] * 96, 0.98),  # 98 / 100
        (["failed"], 2 / 6),
        (["failed"] * 8, 0.1),  # 2 / 20
        (["timeout"], 2 / 4.5),
        (["rejected"], 2 / 4.25),
        (["accepted"], 0.5),
        (["accepted", "completed", "accepted", "failed"], 3 / 7),  # (2 + 1) / (4 + 1 + 2)
        (["completed", "completed", "timeout", "rejected"], 4 / 6.75),  # (2 + 2) / (4 + 2 + 0.75)
    ],
)
def test_trust_is_the_mean_of_prior_and_outcomes(history, trust) -> None:
    evidence = NEW
    for each in history:
        code = each if each in TRANSIENT else None
        evidence = evidence.told(Outcome.FAILED if code else Outcome(each), code)
    assert evidence.trust() == pytest.approx(trust)


@pytest.mark.parametrize(
    ("days", "left"),
    [(0, 1.0), (30, 0.5), (60, 0.25), (15, math.sqrt(0.5)), (300, 2**-10), (36_500, 0.0)],
)
def test_what_was_told_halves_every_half_life(days, left) -> None:
    faded = Evidence(8.0, 4.0, NOW).faded(NOW + days * DAY_S, half_life_s=HALF_LIFE_S)
    assert (faded.s, faded.f) == (pytest.approx(8 * left), pytest.approx(4 * left))
    assert faded.at == NOW + days * DAY_S


def test_after_a_half_life_trust_is_that_of_half_the_evidence() -> None:
    evidence = Evidence(8.0, 4.0, NOW)
    assert evidence.trust() == pytest.approx(10 / 16)
    assert evidence.faded(NOW + 30 * DAY_S, half_life_s=HALF_LIFE_S).trust() == pytest.approx(6 / 10)


def test_a_new_outcome_weighs_whole_beside_a_faded_one() -> None:
    evidence = NEW.told(Outcome.COMPLETED, None).faded(NOW + 30 * DAY_S, half_life_s=HALF_LIFE_S)
    assert evidence.told(Outcome.COMPLETED, None).trust() == pytest.approx(3.5 / 5.5)


def test_a_clock_that_went_back_forgets_nothing_and_keeps_its_time() -> None:
    evidence = Evidence(8.0, 4.0, NOW)
    assert evidence.faded(NOW - DAY_S, half_life_s=HALF_LIFE_S) == evidence


def test_only_completed_and_failed_are_final() -> None:
    assert set(FINAL) == {Outcome.COMPLETED, Outcome.FAILED}


@effort(200)
@given(EVIDENCE, SECONDS)
def test_trust_is_always_within_0_and_1(evidence: Evidence, seconds: float) -> None:
    assert 0 < evidence.trust() < 1
    assert 0 < evidence.faded(NOW + seconds, half_life_s=HALF_LIFE_S).trust() < 1


@effort(200)
@given(EVIDENCE, OUTCOMES)
def test_a_success_never_lowers_trust_and_nothing_else_raises_it(evidence: Evidence, told: tuple[Outcome, str]) -> None:
    after = evidence.told(*told).trust()
    assert after >= evidence.trust() if told[0] is Outcome.COMPLETED else after <= evidence.trust()


@effort(200)
@given(EVIDENCE, st.lists(SECONDS, min_size=1, max_size=5))
def test_forgetting_in_steps_is_forgetting_at_once(evidence: Evidence, steps: list[float]) -> None:
    faded, now = evidence, NOW
    for seconds in steps:
        now += seconds
        faded = faded.faded(now, half_life_s=HALF_LIFE_S)
    at_once = evidence.faded(now, half_life_s=HALF_LIFE_S)
    assert faded.s == pytest.approx(at_once.s, rel=1e-9, abs=1e-9)
    assert faded.f == pytest.approx(at_once.f, rel=1e-9, abs=1e-9)


@effort(200)
@given(EVIDENCE, SECONDS, SECONDS)
def test_a_silent_miner_returns_towards_one_half(evidence: Evidence, one: float, two: float) -> None:
    sooner, later = (
        abs(evidence.faded(NOW + seconds, half_life_s=HALF_LIFE_S).trust() - 0.5) for seconds in sorted((one, two))
    )
    assert later <= sooner + 1e-12


@effort(200)
@given(st.permutations([*map(Outcome, ("completed", "failed", "rejected", "accepted"))] * 2))
def test_the_order_of_outcomes_at_one_time_does_not_matter(order: list[Outcome]) -> None:
    evidence = NEW
    for outcome in order:
        evidence = evidence.told(outcome, None)
    assert evidence == Evidence(2.0, 4.5, NOW)
