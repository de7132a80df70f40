from random import Random

import pytest

from miners.seeding.policy import Backoff, Reaction, reaction, until_next_s

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("code", "want"),
    [
        (4401, Reaction.REGISTER),
        (4403, Reaction.STOP),
        (4409, Reaction.STOP),
        (4012, Reaction.SOON),
        (1012, Reaction.SOON),
        (1000, Reaction.CONNECT),
        (1011, Reaction.CONNECT),
        (4400, Reaction.CONNECT),
        (4429, Reaction.CONNECT),
        (None, Reaction.CONNECT),
    ],
)
def test_each_close_code_has_its_reaction(code, want) -> None:
    assert reaction(code) is want


def test_pauses_double_up_to_their_limit_and_never_get_short() -> None:
    """Each in the upper half of 0.5, 1, 2, … 30, 30 s."""
    backoff = Backoff(Random(1))
    for longest in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
        assert longest / 2 <= backoff.pause_s() <= longest


def test_a_success_forgets_the_failures() -> None:
    backoff = Backoff(Random(1))
    for _ in range(6):
        backoff.pause_s()
    backoff.reset()
    assert backoff.pause_s() <= 0.5


def test_those_who_failed_together_do_not_come_back_together() -> None:
    rng = Random(1)
    pauses = [Backoff(rng).pause_s() for _ in range(100)]
    assert max(pauses) - min(pauses) > 0.2


def test_heartbeats_come_a_little_early_never_late_and_drift_apart() -> None:
    rng = Random(1)
    pauses = [until_next_s(20, rng) for _ in range(200)]
    assert 18 <= min(pauses) < 18.2
    assert 19.8 < max(pauses) <= 20
