"""The hub stretches the miners' rhythm, and their leases with it."""

import pytest

from miners import pacing
from miners.pacing import stretch
from miners.registry import runtime
from miners.registry.runtime import get_registry
from tests.miners.builders import register


@pytest.mark.parametrize(
    ("live", "held", "want"),
    [
        (0, 1.0, 1.0),
        (2000, 1.0, 1.0),  # 2000 / 20 s = 100 a second: just allowed
        (4000, 1.0, 2.2),  # 200 a second: twice as long, and a tenth more
        (4200, 2.2, 2.2),  # 2.1 is still enough
        (4600, 2.2, 2.53),  # 2.3 is not
        (3400, 2.2, 2.2),  # 1.7 would do, but not by much
        (3200, 2.2, 1.76),  # 1.6 is less than three quarters of 2.2
        (1900, 2.2, 1.1),
        (1000, 1.1, 1.0),
    ],
)
def test_the_rhythm_keeps_the_rate_below_the_limit(live, held, want) -> None:
    assert stretch(live, rhythm_s=20, limit_per_s=100, held=held) == pytest.approx(want)


def test_no_limit_is_no_stretch() -> None:
    assert stretch(10**9, rhythm_s=20, limit_per_s=0, held=3.0) == 1.0


@pytest.mark.parametrize("held", [1.0, 1.1, 2.0, 7.0])
def test_whatever_was_held_the_rate_stays_below_the_limit(held) -> None:
    for live in range(0, 50_000, 500):
        assert live / (20 * stretch(live, rhythm_s=20, limit_per_s=100, held=held)) <= 100 * (1 + 1e-9)


def test_a_registry_without_miners_is_fitted_itself_and_no_other_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(runtime, "_registry", None)  # another would have to be loaded, without a database
    empty = runtime.new_registry()
    empty.set_stretch(2.0)
    assert pacing.repace(empty)
    assert empty.stretch == 1.0


@pytest.mark.django_db(transaction=True)
def test_a_stretched_rhythm_is_told_with_jitter_and_the_lease_grows_with_it(settings) -> None:
    for i in range(8):
        register(f"m{i}")
    settings.MAX_HEARTBEATS_PER_SEC = 0.1  # 8 in 20 s = 0.4 a second: four times too many
    assert pacing.repace()
    told = [pacing.pace() for _ in range(50)]
    assert {each.lease_ttl_s for each in told} == {264}  # 60 s × 4.4
    assert all(79.2 <= each.next_heartbeat_s <= 88 for each in told)
    assert len({each.next_heartbeat_s for each in told}) > 10
    assert get_registry().states.grace_s == pytest.approx(528)
    assert not pacing.repace()
    settings.MAX_HEARTBEATS_PER_SEC = 1000
    assert pacing.repace()
    assert pacing.pace() == pacing.Pace(60, 20)
