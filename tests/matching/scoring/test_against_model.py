"""The columnar registry and the pipeline against the slow and obvious model, over long random histories."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from matching.scoring import filters, pipeline, rank, scorers
from matching.scoring.types import MatchResult, Query
from miners.registry import bitmaps, ranges, terms
from miners.registry.columns import MERIT_WEIGHTS
from miners.registry.market import MarketEntry
from miners.registry.records import Report, State
from miners.registry.tables import table_of
from tests.effort import effort
from tests.matching.scoring import model as slow
from tests.matching.scoring import strategies as draw
from tests.matching.standing.naive import assert_surveyed
from tests.miners.registry.builders import GRACE_S, HALF_LIFE_S, NOW, TTL_S, empty, row
from tests.miners.registry.model import ModelRegistry

pytestmark = pytest.mark.pure

IDS = st.sampled_from(draw.IDS)
ASKED_A_STEP = 3
SURVEYED = 0.2  # of what is asked: the model tries several prices of each miner


class History(RuleBasedStateMachine):
    """Whatever happens to the registry happens to the model; after each step both are asked the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.version = 0
        self.asker = Random(0)
        self.registry = empty(capacity=64)
        self.model = ModelRegistry(TTL_S, GRACE_S, HALF_LIFE_S)

    # ---- what happens

    @rule(miner_id=IDS, profile=draw.PROFILES, heard=st.none() | st.sampled_from((0.0, 61.0, 121.0)))
    def register(self, miner_id: str, profile: dict[str, Any], heard: float | None) -> None:
        self.version += 1
        made = row(miner_id, version=self.version, **profile)
        seen = None if heard is None else self.now - heard
        assert self.registry.upsert(made, now=self.now, last_seen=seen) == self.model.upsert(
            made, now=self.now, last_seen=seen
        )

    @rule(data=st.data(), changes=draw.PROFILES)
    @precondition(lambda self: self.model.miners)
    def change(self, data: st.DataObject, changes: dict[str, Any]) -> None:
        self.version += 1
        held = self.model.miners[self.pick(data)].row
        made = replace(held, version=self.version, **changes)
        assert self.registry.upsert(made, now=self.now)
        assert self.model.upsert(made, now=self.now)

    @rule(data=st.data(), profile=draw.PROFILES)
    @precondition(lambda self: self.model.miners)
    def register_late(self, data: st.DataObject, profile: dict[str, Any]) -> None:
        """A row of a version that was overtaken changes nothing."""
        miner_id = self.pick(data)
        made = row(miner_id, version=self.model.miners[miner_id].row.version, **profile)
        assert not self.registry.upsert(made, now=self.now, last_seen=self.now)

    @rule(seed=st.integers(0, 999), count=st.integers(1, 150), alike=st.booleans())
    def load(self, seed: int, count: int, alike: bool) -> None:
        self.version += 1
        crowd = draw.crowd(seed, count, alike, self.version, self.now)
        made = list(
            {row.miner_id: (row, live) for row, live in crowd if row.miner_id not in self.model.miners}.values()
        )
        self.registry.load([table_of(made)], now=self.now)
        self.model.load(made, now=self.now)

    @rule(data=st.data(), report=draw.REPORTS, late_s=st.sampled_from((0.0, 0.0, 0.5, 70.0)))
    @precondition(lambda self: self.model.miners)
    def report(self, data: st.DataObject, report: dict[str, Any], late_s: float) -> None:
        miner_id, made = self.pick(data), Report(at=self.now - late_s, **report)
        assert self.registry.report(miner_id, made) == self.model.report(miner_id, made)

    @rule(data=st.data())
    @precondition(lambda self: self.model.miners)
    def touch(self, data: st.DataObject) -> None:
        miner_id = self.pick(data)
        assert self.registry.touch(miner_id, now=self.now)
        assert self.model.touch(miner_id, now=self.now)

    @rule(data=st.data(), delta=st.sampled_from((1, 1, 3, -1, -2)))
    @precondition(lambda self: self.model.miners)
    def own(self, data: st.DataObject, delta: int) -> None:
        miner_id = self.pick(data)
        self.registry.add_own(miner_id, delta)
        self.model.add_own(miner_id, delta)

    @rule(market=draw.MARKETS)
    def market(self, market: dict[tuple[str, str], MarketEntry]) -> None:
        def find(gpu_name: str, region: str) -> MarketEntry | None:
            return market.get((gpu_name.lower(), region))

        self.registry.set_market(find)
        self.model.find = find

    @rule(data=st.data(), share=st.sampled_from((0.0, 0.5, 1.0)))
    @precondition(lambda self: self.model.miners)
    def remove(self, data: st.DataObject, share: float) -> None:
        miner_ids = sorted(self.model.miners)
        for miner_id in {self.pick(data), *miner_ids[: int(share * len(miner_ids))]}:
            assert self.registry.remove(miner_id)
            assert self.model.remove(miner_id)

    @rule(ms=draw.ROUND_TRIPS)
    def measure_regions(self, ms: dict[tuple[str, str], float]) -> None:
        self.registry.roundtrips.replace(ms)
        self.model.roundtrips = ms

    @rule()
    def nobody(self) -> None:
        """What names an unknown miner is refused and changes nothing."""
        assert not self.registry.touch("nobody", now=self.now)
        assert not self.registry.report("nobody", Report(at=self.now))
        assert not self.registry.remove("nobody")
        self.registry.add_own("nobody", 1)
        assert self.registry.get("nobody", now=self.now) is None
        assert self.registry.standing_of("nobody", now=self.now) is None
        assert pipeline.why_not(self.registry, Query(), "nobody", now=self.now) is None

    @rule(seconds=st.sampled_from(draw.STEPS))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # ---- what is asked

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.asker = Random(seed)

    @invariant()
    def every_step_is_followed_by_questions(self) -> None:
        assert len(self.registry) == len(self.model.miners)
        for _ in range(ASKED_A_STEP):
            query = draw.random_query(self.asker, self.model)
            self.agree(query)
            if self.model.miners:
                self.agree_on(query, self.asker.choice(sorted(self.model.miners)))

    @invariant()
    def merit_is_in_step_with_what_it_is_made_of(self) -> None:
        columns = self.registry.columns
        latency, trust, load = (
            weight * column for weight, column in zip(MERIT_WEIGHTS, columns.rough[:3], strict=True)
        )
        assert columns.f_merit == pytest.approx(latency + trust + load, abs=1e-6)

    @rule(query=draw.QUERIES | draw.sparing())
    def agree(self, query: Query) -> None:
        found = pipeline.match(self.registry, query, now=self.now)
        assert_same(found, slow.match(self.model, query, now=self.now))
        assert found.considered == found.eligible + sum(found.rejected.values())
        if self.asker.random() < SURVEYED:
            assert_surveyed(self.registry, self.model, query, self.now)

    def agree_on(self, query: Query, miner_id: str) -> None:
        found = pipeline.why_not(self.registry, query, miner_id, now=self.now)
        assert found == slow.why_not(self.model, query, miner_id, now=self.now)

    @rule(query=draw.sparing(), data=st.data())
    @precondition(lambda self: self.model.miners)
    def ask_for_one(self, query: Query, data: st.DataObject) -> None:
        miner = self.model.miners[self.pick(data)]
        self.registry.refresh(self.now)
        found = pipeline.candidate(self.registry, query, miner.row.miner_id, now=self.now)
        if self.model.state(miner, self.now) not in (State.OFFLINE, State.DISABLED):  # those have no rank
            _, field = slow.field_of(self.model, query, self.now, slow.failures(self.model, query, self.now))
            assert found == slow.candidate(self.model, query, miner, self.now, field)

    @rule(data=st.data())
    @precondition(lambda self: self.model.miners)
    def look_at_one(self, data: st.DataObject) -> None:
        miner_id = self.pick(data)
        seen = self.registry.get(miner_id, now=self.now)
        wanted = self.model.view(self.model.miners[miner_id], self.now)
        assert seen is not None
        assert replace(seen, trust=0.0) == replace(wanted, trust=0.0)
        assert seen.trust == pytest.approx(wanted.trust, abs=1e-12)
        is_offline = not self.model.live_by_contact(self.model.miners[miner_id], self.now)
        standing = self.registry.standing_of(miner_id, now=self.now)
        assert standing == (wanted.row.session, wanted.row.disabled, is_offline)
        assert self.registry.lease_expires_at(miner_id) == wanted.lease_expires_at

    @rule(
        wanted=st.fixed_dictionaries(
            {},
            optional={
                "state": st.sampled_from(list(State)),
                "region": st.sampled_from(draw.REGIONS),
                "capability": st.sampled_from(draw.CAPABILITIES),
                "tag": st.sampled_from(draw.TAGS),
                "min_vram_gb": st.sampled_from(draw.VRAM),
                "q": st.sampled_from(("", "M1", "rtx", "10.0")),
            },
        ),
        limit=st.sampled_from((1, 7, 500)),
    )
    def list_all(self, wanted: dict[str, Any], limit: int) -> None:
        shown: list[str] = []
        cursor = None
        while True:
            page, cursor = self.registry.page(now=self.now, limit=limit, cursor=cursor, **wanted)
            shown += [each.row.miner_id for each in page]
            if cursor is None:
                break
            assert cursor == shown[-1]
        assert shown == self.model.page(now=self.now, **wanted)

    @rule()
    def count(self) -> None:
        assert self.registry.counts(now=self.now) == self.model.counts(self.now)
        assert self.registry.mean_latency_ms(now=self.now) == pytest.approx(self.model.mean_latency_ms(self.now))

    @rule()
    def save(self) -> None:
        assert dict(self.registry.drain_dirty()) == self.model.drain_dirty()

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.miners)), label="miner")


def assert_same(found: MatchResult, wanted: MatchResult) -> None:
    assert list(found.rejected.items()) == list(wanted.rejected.items())
    if found.relaxations is not None and wanted.relaxations is not None:
        for ours, theirs in zip(found.relaxations, wanted.relaxations, strict=True):
            assert replace(ours, relax_to=None) == replace(theirs, relax_to=None)
            if ours.constraint == "min_trust" and theirs.relax_to is not None:  # rounded down: it must let the miner in
                assert ours.relax_to == pytest.approx(theirs.relax_to, abs=2e-6)
            else:
                assert ours.relax_to == theirs.relax_to
    assert replace(found, relaxations=None) == replace(wanted, relaxations=None)


def test_a_random_history_agrees_with_the_model() -> None:
    run_state_machine_as_test(History, settings=effort(40, 40))


@pytest.mark.parametrize("share", [0, 10**9], ids=["gathered", "scanned"])
def test_it_agrees_on_the_ways_that_large_pools_take(monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    """Thresholds at which a handful of miners makes several blocks, and bitmaps and boundaries are few."""
    monkeypatch.setattr(rank, "FEW", 0)
    monkeypatch.setattr(rank, "BLOCK_WORDS", 1)
    monkeypatch.setattr(rank, "FIRST_WORDS", 1)
    monkeypatch.setattr(scorers, "FIRST_WORDS", 1)
    monkeypatch.setattr(rank, "SPARSE_SHARE", share)
    monkeypatch.setattr(filters, "SPARSE_SHARE", share)
    monkeypatch.setattr(filters, "SCAN_ROWS", 0)
    monkeypatch.setattr(rank, "AT_ONCE_WORDS", 0)
    monkeypatch.setattr(rank, "SAMPLE_ROWS", 8)
    monkeypatch.setattr(bitmaps, "FEW_WORDS", 0)
    monkeypatch.setattr(terms, "SPARSE_MIN", 4)
    monkeypatch.setattr(ranges, "MAX_BOUNDARIES", 3)
    run_state_machine_as_test(History, settings=effort(20, 40))


def test_the_constraints_are_those_of_the_contract_in_its_order() -> None:
    assert filters.CONSTRAINTS == slow.CONSTRAINTS
