"""What surveys add up to: exactly where all are kept, and by weight where they are a sample."""

import numpy as np
import pytest

from matching.scoring.filters import CONSTRAINTS
from matching.standing.adding import added, lower_median, upper_median
from matching.standing.packing import pack, unpack
from matching.standing.survey import ABSENT, CODES, ELIGIBLE, Survey
from matching.standing.tally import KEPT, Tally

pytestmark = pytest.mark.pure


def seen(verdicts: list[str | None], ranked: list[int], lost: dict[int, int], pk: list[int] | None = None) -> Survey:
    """verdicts by slot: a constraint, "" = eligible, None = nobody there."""
    codes = [ABSENT if each is None else CODES[each] if each else ELIGIBLE for each in verdicts]
    return Survey(
        np.array(pk or [100 + slot for slot in range(len(verdicts))]), np.array(codes, np.uint8),
        np.array(ranked, np.intp), np.array(list(lost), np.intp), np.array(list(lost.values()), np.int64),
    )  # fmt: skip


def total(tally: Tally, pk: int):
    return added([part for _, part in tally.parts(4)], pk)


def test_each_survey_stands_for_its_weight() -> None:
    tally = Tally(1)
    tally.add(seen(["", "region", ""], [2, 0], {0: 50}), 3)
    tally.add(seen(["", "capacity", "max_price"], [0], {2: 70}), 2)
    assert total(tally, 100).sums["eligible"] == 5
    assert total(tally, 101).rejected == {**dict.fromkeys(("max_price",), 0), "region": 3, "capacity": 2}
    assert total(tally, 102).rejected["max_price"] == 2
    assert total(tally, 100).ranks == [(2, 2.5), (1, 2.5)]
    assert (total(tally, 100).sums["lost"], total(tally, 100).prices) == (3, [(50, 3)])
    assert {name: total(tally, 100).sums[name] for name in ("surveys", "percentile")} == {
        "surveys": 2,
        "percentile": 200,
    }


def test_a_slot_that_is_another_miner_s_now_begins_anew() -> None:
    tally = Tally(1)
    tally.add(seen([""], [0], {}), 5)
    tally.add(seen(["region"], [], {}, pk=[900]), 1)
    assert total(tally, 100).sums == {}
    assert total(tally, 900).rejected["region"] == 1
    assert total(tally, 900).ranks == []


def test_offers_are_counted_for_miners_that_no_survey_has_seen() -> None:
    tally = Tally(1)
    tally.add_offered({7: (100, 3, 1)})
    tally.add_offered({7: (100, 2, 2)})
    tally.add_offered({})
    assert (total(tally, 100).sums["offered"], total(tally, 100).sums["first"]) == (5, 3)


def test_of_many_ranks_a_sample_is_kept_by_weight() -> None:
    """Two kinds of matches: rank 1 with weight 3, rank 2 with weight 1. About three in four are kept of the first."""
    share = []
    for seed in range(150):
        tally = Tally(seed)
        for number in range(120):
            first = number % 2
            tally.add(seen(["", ""], [0, 1] if first else [1, 0], {}), 3 if first else 1)
        ranks = total(tally, 100).ranks
        assert len(ranks) == KEPT
        assert sum(weight for _, weight in ranks) == pytest.approx(240)
        share.append(sum(rank == 1 for rank, _ in ranks) / KEPT)
    assert np.mean(share) == pytest.approx(0.75, abs=0.05)


def test_parts_are_packed_and_unpacked_as_they_were_and_lie_in_the_shard_of_their_key() -> None:
    tally = Tally(1)
    tally.add(seen(["", "region", None, "", "capacity"], [0, 3], {3: 10**17}), 2)
    keys: list[int] = []
    for shard, part in tally.parts(4):
        again = unpack(pack(part))
        assert again is not None
        assert again.pk.tolist() == part.pk.tolist()
        assert {key % 4 for key in part.pk.tolist()} == {shard}
        for name in part.sums:
            assert again.sums[name].tolist() == part.sums[name].tolist()
        assert {name: each.tolist() for name, each in again.rejected.items()} == {
            name: each.tolist() for name, each in part.rejected.items()
        }
        assert again.ranks.tolist() == part.ranks.tolist()
        assert again.prices.tolist() == part.prices.tolist()
        keys += part.pk.tolist()
    assert sorted(keys) == [100, 101, 103, 104]


@pytest.mark.parametrize(
    ("values", "lower", "upper"),
    [
        ([], None, None),
        ([(5, 1)], 5, 5),
        ([(1, 1), (2, 1)], 1, 2),  # half of the weight is at 1, and half reaches 2
        ([(1, 1), (2, 1), (9, 1)], 2, 2),
        ([(1, 5), (2, 1), (9, 1)], 1, 1),
        ([(9, 3), (1, 1), (2, 1)], 9, 9),
    ],
)
def test_medians_by_weight(values, lower, upper) -> None:
    assert lower_median(values) == lower
    assert upper_median(values) == upper


def test_every_constraint_has_a_code_that_is_no_verdict_of_another_kind() -> None:
    assert list(CODES) == list(CONSTRAINTS)
    assert max(CODES.values()) < ELIGIBLE
