"""The benchmark of reservations with few attempts, and its independent count."""

import pytest

from benchmarks import reservations
from benchmarks.reserving.count import Held, overbooked
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure


@pytest.mark.bench
def test_a_short_run_grants_on_every_path_and_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("CONTENDED", 400), ("FREE", 400), ("HUB_ATTEMPTS", 40), ("HUB_MINERS", 50)):
        monkeypatch.setattr(reservations, f"QUICK_{name}", count)
    result = reservations.run(options(reservations, "--quick"))
    for race in ("contended", "room for all"):
        assert result[race]["store"]["attempts"] == 400
        assert result[race]["store"]["overbooked"] == 0
    assert result["contended"]["store"]["granted"] < 400  # some were turned away
    assert result["room for all"]["store"]["granted"] == 400
    assert result["whole path"]["four processes"]["granted"] == 40
    assert "whole path, four processes" in reservations.tables(result)
    assert reservations.FIGURES[-1].read(result) == 0


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ([], 0),
        ([("a", 0, 5), ("a", 5, 9)], 0),  # one ends where the other begins
        ([("a", 0, 5), ("a", 4, 9)], 1),
        ([("a", 0, 9), ("a", 1, 8), ("a", 2, 7)], 2),  # each that begins while the slot is taken
        ([("b", 0, 9), ("b", 1, 8), ("a", 2, 7)], 0),  # b has two slots
        ([("a", 5, 5), ("a", 5, 4), ("a", 4, 6)], 0),  # what was over before it was answered takes nothing
    ],
)
def test_each_grant_beyond_the_limit_is_counted(held, found) -> None:
    assert overbooked([Held(*each) for each in held], {"a": 1, "b": 2}) == found
