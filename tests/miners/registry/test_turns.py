"""Work that ages, a part at a time."""

import pytest

from miners.registry.turns import EARLY, Turns

pytestmark = pytest.mark.pure
MAX_S = 10.0


def test_a_part_never_renewed_is_due() -> None:
    assert Turns(MAX_S).due(["a", "b"], 0.0) == ["a", "b"]


def test_a_renewed_part_is_left_alone_for_a_while() -> None:
    turns: Turns[str] = Turns(MAX_S)
    turns.due(["a"], 0.0)
    assert turns.due(["a"], EARLY * MAX_S - 0.001) == []


def test_frequent_calls_renew_one_part_each_the_oldest_first() -> None:
    turns: Turns[str] = Turns(MAX_S)
    turns.due(["b"], 0.0)
    turns.due(["a", "b"], 0.5)  # a alone: it was never renewed
    turns.due(["a", "b", "c"], 1.0)  # c alone
    assert [turns.due("abc", at) for at in (8.6, 8.7, 8.8)] == [["b"], ["a"], ["c"]]


def test_nothing_gets_older_than_the_time_set_however_rare_the_calls() -> None:
    turns: Turns[int] = Turns(MAX_S)
    parts = range(5)
    turns.due(parts, 0.0)
    assert turns.due(parts, MAX_S) == list(parts)


def test_a_clock_that_went_back_makes_a_part_due() -> None:
    turns: Turns[str] = Turns(MAX_S)
    turns.due(["a"], 100.0)
    assert turns.due(["a"], 99.0) == ["a"]


def test_a_forgotten_part_is_due() -> None:
    turns: Turns[str] = Turns(MAX_S)
    turns.due(["a"], 0.0)
    turns.forget("a")
    assert turns.due(["a"], 1.0) == ["a"]
