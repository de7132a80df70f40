import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.regions.robust import MIN_BAND_MS, MIN_BAND_SHARE, MIN_MINERS, OPERATOR_VOICES, SIGMAS, TO_SIGMA, estimate

pytestmark = pytest.mark.pure

MS = st.floats(0, 10_000)


def test_too_few_say_nothing_without_an_operator() -> None:
    assert estimate([80.0] * (MIN_MINERS - 1), None) is None
    assert estimate([80.0] * MIN_MINERS, None) == 80.0
    assert estimate([], 70.0) == 70.0


def test_outliers_are_dropped_and_the_others_averaged() -> None:
    assert estimate([78.0, 80.0, 82.0, 9_000.0, 0.0], None) == 80.0


def test_an_operators_value_is_refined_by_the_many_and_not_by_the_few() -> None:
    assert estimate([84.0], 80.0) == 81.0
    assert estimate([200.0] * (OPERATOR_VOICES - 1), 80.0) == 80.0
    assert estimate([200.0] * (OPERATOR_VOICES + 1), 80.0) == 200.0


@given(honest=st.lists(st.floats(50, 100), min_size=MIN_MINERS, max_size=30), lie=MS)
def test_a_liar_moves_the_mean_no_further_from_the_honest_than_its_share(honest: list[float], lie: float) -> None:
    moved = estimate([*honest, lie], None)
    assert moved is not None
    low, high = min(honest), max(honest)
    band = max(SIGMAS * TO_SIGMA * (high - low), MIN_BAND_MS, MIN_BAND_SHARE * high)
    kept = len(honest) / 2  # at least so many of the honest are within the band
    assert low - band / kept - 1e-6 <= moved <= high + band / kept + 1e-6


@given(honest=st.lists(st.floats(50, 100), min_size=4, max_size=30))
def test_one_that_is_far_off_counts_for_nothing(honest: list[float]) -> None:
    low, high = min(honest), max(honest)
    moved = estimate([*honest, 10_000.0], None)
    assert moved is not None
    assert low - 1e-6 <= moved <= high + 1e-6


@given(measured=st.lists(MS, max_size=30), operator_ms=st.none() | MS)
def test_it_lies_between_what_was_said(measured: list[float], operator_ms: float | None) -> None:
    found = estimate(measured, operator_ms)
    said = measured if operator_ms is None else [*measured, operator_ms]
    assert found is None or min(said) - 1e-6 <= found <= max(said) + 1e-6
