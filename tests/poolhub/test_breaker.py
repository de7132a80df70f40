import pytest

from poolhub.common.breaker import Breaker
from poolhub.common.clock import FakeClock

pytestmark = pytest.mark.pure


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock) -> Breaker:
    return Breaker(rest_s=2.0, monotonic=clock.now)


def test_it_allows_everybody_until_a_failure(breaker) -> None:
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    assert not breaker.rests()


def test_after_a_failure_nobody_may_ask_for_a_while(breaker, clock) -> None:
    breaker.failed()
    assert (breaker.allows(), breaker.rests()) == (False, True)
    clock.advance(1.9)
    assert (breaker.allows(), breaker.rests()) == (False, True)


def test_then_one_tries_while_the_others_are_refused(breaker, clock) -> None:
    breaker.failed()
    clock.advance(2)
    assert not breaker.rests()
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_trial_that_never_ends_lets_the_next_one_try(breaker, clock) -> None:
    breaker.failed()
    clock.advance(2)
    assert breaker.allows()
    clock.advance(2)
    assert [breaker.allows() for _ in range(2)] == [True, False]


def test_success_closes_it(breaker, clock) -> None:
    breaker.failed()
    clock.advance(2)
    breaker.allows()
    breaker.worked()
    assert [breaker.allows() for _ in range(3)] == [True] * 3


def test_a_trial_that_fails_begins_the_rest_anew(breaker, clock) -> None:
    breaker.failed()
    clock.advance(2)
    breaker.allows()
    clock.advance(1)
    breaker.failed()
    clock.advance(1.9)
    assert not breaker.allows()


def test_it_tells_the_first_failure_and_the_first_success(breaker) -> None:
    assert breaker.worked() is False
    assert [breaker.failed(), breaker.failed()] == [True, False]
    assert [breaker.worked(), breaker.worked()] == [True, False]


def test_rests_grow_with_each_trial_that_fails_up_to_the_longest(clock) -> None:
    breaker = Breaker(rest_s=2.0, max_rest_s=7.0, monotonic=clock.now)
    breaker.failed()
    breaker.failed()  # was under way with the first
    for rest_s in (2.0, 4.0, 7.0, 7.0):
        assert breaker.rests_s() == rest_s
        clock.advance(rest_s)
        assert (breaker.rests_s(), breaker.allows()) == (0.0, True)
        breaker.failed()
    clock.advance(7)
    breaker.allows()
    breaker.worked()
    breaker.failed()
    assert breaker.rests_s() == 2.0
