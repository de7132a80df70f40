"""Matches that share their work against matches that do not, while load moves between them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engines import rows as one_by_one
from matching.scoring import filters, pipeline, shared
from matching.scoring.shared import Shared
from matching.scoring.types import Query
from miners.registry.store import Registry
from tests.effort import effort
from tests.matching.scoring import strategies as draw
from tests.miners.registry.builders import NOW, empty

pytestmark = pytest.mark.pure

STEPS = 24


def filled(seed: int, count: int, alike: bool) -> Registry:
    registry = empty(capacity=64)
    one_by_one.write(registry, draw.crowd(seed, count, alike, 1, NOW), now=NOW)
    return registry


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 150),
    alike=st.booleans(),
    spare=st.sampled_from((0, 1, 5, 64)),
    queries=st.lists(draw.sparing(), min_size=1, max_size=3),
)
@effort(150)
def test_shared_answers_are_those_of_single_matches(
    seed: int, count: int, alike: bool, spare: int, queries: list[Query]
) -> None:
    registry, random = filled(seed, count, alike), Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "SPARE", spare)
        sharing = Shared(registry, [*queries, *queries], now=NOW)
        with sharing.watching():
            for _ in range(STEPS):
                query = random.choice(queries)
                found = sharing.match(query)
                assert found == pipeline.match(registry, query, now=NOW)
                best = [each.miner_id for each in found.candidates]
                for miner_id in random.sample(best, min(len(best), 2)) + random.sample(registry.ids, min(2, count)):
                    registry.add_own(miner_id, random.choice((1, 1, 1, 3, 10_000, -1, -10_000)))


def test_the_order_is_not_worked_out_anew_while_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = shared.Ranking.__init__

    def counted(self: shared.Ranking, *args: object, **named: object) -> None:
        made.append(1)
        real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shared.Ranking, "__init__", counted)
    registry, query = filled(1, 150, alike=True), Query(top_k=3)
    sharing = Shared(registry, [query] * 50, now=NOW)
    with sharing.watching():
        for _ in range(50):
            registry.add_own(sharing.match(query).candidates[0].miner_id, 1)
    assert len(made) < 5


def test_what_is_asked_once_or_wants_relaxations_is_not_shared() -> None:
    once, full = Query(top_k=3), Query(full=True)
    sharing = Shared(filled(1, 10, alike=False), [once, full, full], now=NOW)
    assert not sharing._rankings


def test_constraints_that_depend_on_load_come_last() -> None:
    loaded = [each.loaded for each in filters.FILTERS]
    assert loaded == sorted(loaded)
    assert [each.name for each in filters.FILTERS if each.loaded] == ["capacity", "deadline_ms"]


def test_nobody_notes_what_moves_once_the_batch_is_over() -> None:
    registry = filled(1, 10, alike=False)
    with Shared(registry, [], now=NOW).watching():
        assert registry.moved == []
    assert registry.moved is None
