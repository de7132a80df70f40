import numpy as np
import pytest

from miners.registry.roundtrips import MAX_KEPT, UNKNOWN_MS, RoundTrips
from miners.registry.terms import Kind, Terms

pytestmark = pytest.mark.pure


def table(**ms: float) -> RoundTrips:
    """eu__us=80 is the pair (eu, us)."""
    made = RoundTrips()
    made.replace({tuple(name.replace("0", "-").split("__")): value for name, value in ms.items()})  # type: ignore[misc]
    return made


def test_a_pair_holds_in_both_directions() -> None:
    both = table(eu__us=80.0)
    assert both.between("eu", "us") == both.between("us", "eu") == 80.0
    assert both.between("eu", "asia") == UNKNOWN_MS


def test_within_the_asked_region_it_is_0_whatever_the_table_says() -> None:
    within = table(eu__eu0west=40.0)
    assert within.between("eu", "eu") == within.between("eu", "eu-west") == within.between("eu", "eu-west-1") == 0.0
    assert within.between("eu-west", "eu") == 40.0
    assert within.between("", "") == 0.0


def test_a_pair_stands_for_the_regions_within_and_a_narrower_one_comes_first() -> None:
    made = table(eu__us=80.0, eu0west__us0east=70.0, eu__us0east=90.0)
    assert made.between("eu-north", "us-west-2") == 80.0
    assert made.between("eu-west-1", "us-east-1") == 70.0
    assert made.between("eu", "us-east-1") == 90.0
    assert made.between("eu-west", "us-west") == 80.0
    assert made.between("europe", "us") == UNKNOWN_MS


def test_a_region_with_very_many_parts_costs_nothing_much() -> None:
    made = table(eu__us=80.0)
    assert made.between("eu" + "-" * 62, "us" + "-" * 62) == 80.0


def test_nearness_follows_the_vocabulary_and_the_table() -> None:
    terms, made = Terms(1), table(eu__us=90.0)
    eu, us = (terms.add(Kind.REGION, name, slot, 2) for slot, name in enumerate(("eu-west", "us")))
    near = made.nearness("eu", terms)
    assert (near[eu], near[us]) == (1.0, 0.7)
    assert made.nearness("eu", terms) is near
    far = terms.add(Kind.REGION, "asia", 2, 3)
    assert made.nearness("eu", terms)[far] == 0.5
    made.replace({("asia", "eu"): 400.0})
    near = made.nearness("eu", terms)
    assert (near[us], near[far]) == (0.5, 0.0)
    terms.discard(us, 1)
    taken = terms.add(Kind.REGION, "eu-east", 1, 3)
    assert taken == us
    assert made.nearness("eu", terms)[taken] == 1.0


def test_nobody_in_any_region_is_an_answer_too() -> None:
    assert np.array_equal(table().nearness("eu", Terms(1)), [0.0])


def test_what_is_kept_at_hand_is_bounded() -> None:
    made, terms = table(), Terms(1)
    for number in range(2 * MAX_KEPT):
        made.nearness(f"r{number}", terms)
    assert len(made._nearness) <= MAX_KEPT
