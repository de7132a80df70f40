"""The ledger and the registry that it counts in, against an obvious model over long random histories."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis

from matching.reservations import ledger as module
from matching.reservations.holds import Outcome
from matching.reservations.ledger import Ledger
from matching.reservations.memory import MemoryStore
from matching.reservations.redis import RedisStore
from miners.registry.records import MinerView, Report
from miners.registry.store import Registry
from poolhub.common.errors import Unavailable
from poolhub.settings import REDIS_OPTIONS
from tests.effort import effort
from tests.hub import free_port
from tests.matching.reservations.model import ModelLedger, ModelMiner, ModelReservation
from tests.miners.registry.builders import NOW, empty, row

JOB_TTL_S = 100.0
MINERS, JOBS = ("m1", "m2", "m3"), ("j1", "j2", "j3", "j4", "j5")
ORDERS = st.permutations(MINERS).flatmap(lambda order: st.integers(0, 3).map(lambda n: order[:n]))


class History(RuleBasedStateMachine):
    """Whatever happens to the ledger happens to the model; after each step both hold the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.version = 0
        self.registry: Registry = empty()
        self.ledger = Ledger(self.registry, MemoryStore(), job_ttl_s=JOB_TTL_S)
        self.registry.ledger = self.ledger
        self.model = ModelLedger(JOB_TTL_S)
        self.ids: dict[str, str] = {}  # the newest reservation of each job

    @rule(miner_id=st.sampled_from(MINERS), slots=st.integers(1, 3))
    def register(self, miner_id: str, slots: int) -> None:
        self.version += 1
        self.registry.upsert(row(miner_id, version=self.version, max_parallel=slots), now=self.now, last_seen=self.now)
        self.model.miners.setdefault(miner_id, ModelMiner(slots)).max_parallel = slots

    @rule(data=st.data())
    @precondition(lambda self: self.model.miners)
    def remove(self, data: st.DataObject) -> None:
        miner_id = data.draw(st.sampled_from(sorted(self.model.miners)))
        self.registry.remove(miner_id)
        self.model.remove(miner_id)

    @rule(data=st.data(), queue_len=st.integers(0, 4))
    @precondition(lambda self: self.model.miners)
    def report(self, data: st.DataObject, queue_len: int) -> None:
        miner_id = data.draw(st.sampled_from(sorted(self.model.miners)))
        self.registry.report(miner_id, Report(at=self.now, queue_len=queue_len))
        self.model.report(miner_id, queue_len)

    @rule(job=st.sampled_from(JOBS), order=ORDERS, ttl_ms=st.sampled_from((500, 2000)))
    def match(self, job: str, order: list[str], ttl_ms: int) -> None:
        """As a match does: who has a slot left, its own aside, is a candidate; the first is held."""
        with self.registry.lock:
            with self.ledger.without(job, now=self.now):
                offered = [each for each in order if self.registry.free_slots(each) > 0]
            assert offered == [each for each in order if self.model.free(each, job) > 0]
            self.ledger.hold(job, offered, ttl_ms=ttl_ms, now=self.now)
        before = self.model.holds.get(job)
        self.model.hold(job, offered, self.now + ttl_ms / 1000)
        granted = self.model.holds.get(job)
        if granted is not None and granted is not before:
            self.fits(granted.miner_id)

    @rule(job=st.sampled_from(JOBS), order=ORDERS, ttl_ms=st.sampled_from((1000, 30_000)))
    def reserve(self, job: str, order: list[str], ttl_ms: int) -> None:
        """Full and unknown miners among the candidates too, as where another process was quicker."""
        wanted, had = self.model.reserve(job, order), job in self.model.reservations
        made = self.ledger.reserve(job, order, ttl_ms=ttl_ms, now=self.now)
        assert (made and made.miner_id) == wanted
        if made is None:
            return
        self.model.reserved(job, ModelReservation(made.id, made.miner_id, ttl_ms / 1000, self.now + ttl_ms / 1000))
        self.ids[job] = made.id
        if not had:
            self.fits(made.miner_id)

    @rule(job=st.sampled_from(JOBS), miner_id=st.sampled_from(MINERS), outcome=st.sampled_from(list(Outcome)))
    def settle(self, job: str, miner_id: str, outcome: Outcome) -> None:
        known = miner_id in self.model.miners
        if known or outcome is not Outcome.ACCEPTED:  # feedback on a removed miner is refused before the ledger
            self.ledger.settle(job, miner_id, outcome, now=self.now)
            self.model.settle(job, miner_id, outcome.value, self.now)

    @rule(job=st.sampled_from(JOBS), ttl_ms=st.sampled_from((None, 1000, 60_000)))
    def renew(self, job: str, ttl_ms: int | None) -> None:
        renewed = self.ledger.renew(self.ids.get(job, "nothing"), ttl_ms=ttl_ms, now=self.now)
        held = self.model.reservations.get(job)
        assert (renewed is None) == (held is None)
        if renewed is not None and held is not None:
            held.ends = self.now + (held.ttl_s if ttl_ms is None else ttl_ms / 1000)
            assert renewed.expires_at == held.ends

    @rule(job=st.sampled_from(JOBS))
    def release(self, job: str) -> None:
        self.ledger.release(self.ids.get(job, "nothing"), now=self.now)
        self.model.reservations.pop(job, None)

    @rule(seconds=st.sampled_from((0.25, 0.5, 1.0, 2.0, 29.0, 100.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.model.expire(self.now)

    @invariant()
    def they_agree(self) -> None:
        for miner_id, miner in self.model.miners.items():
            live = self.view(miner_id).live
            assert (live.own, live.foreign) == (self.model.own(miner_id), miner.foreign)
            assert self.registry.free_slots(miner_id) == max(0, miner.max_parallel - live.own - live.foreign)
        listed = [(each.id, each.job_id, each.miner_id, each.expires_at) for each in self.ledger.live(now=self.now)]
        wanted = [(each.id, job, each.miner_id, each.ends) for job, each in self.model.reservations.items()]
        assert sorted(listed) == sorted(wanted)
        assert [each[3] for each in listed] == sorted(each[3] for each in listed)

    @invariant()
    def no_job_has_two_slots(self) -> None:
        for job in JOBS:
            taken = [each for each in (self.model.holds.get(job), self.model.reservations.get(job)) if each]
            assert len(taken) <= 1
            before = {miner_id: self.view(miner_id).live.own for miner_id in self.model.miners}
            with self.ledger.without(job, now=self.now):
                during = {miner_id: self.view(miner_id).live.own for miner_id in self.model.miners}
            assert sum(before.values()) - sum(during.values()) == len(taken)
            assert {miner_id: self.view(miner_id).live.own for miner_id in self.model.miners} == before

    def fits(self, miner_id: str) -> None:
        """A match never gave a slot that was not there."""
        found = self.view(miner_id)
        assert found.live.own + found.live.foreign <= found.row.max_parallel

    def view(self, miner_id: str) -> MinerView:
        found = self.registry.get(miner_id, now=self.now)
        assert found is not None
        return found


def test_a_random_history_agrees_with_the_model() -> None:
    run_state_machine_as_test(History, settings=effort(150, 60))


def test_it_agrees_while_spent_ends_are_cleared_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_ENDS", 0)
    run_state_machine_as_test(History, settings=effort(60, 60))


# ---- what the model does not tell


@pytest.fixture
def ledger() -> Ledger:
    registry = empty()
    registry.upsert(row("m1", max_parallel=10_000), now=NOW, last_seen=NOW)
    registry.ledger = Ledger(registry, MemoryStore(), job_ttl_s=3600)
    return registry.ledger


def test_jobs_that_end_early_leave_nothing_behind(ledger) -> None:
    for i in range(20_000):
        ledger.hold(f"j{i}", ["m1"], ttl_ms=2000, now=NOW)
        ledger.settle(f"j{i}", "m1", Outcome.ACCEPTED, now=NOW)
        ledger.settle(f"j{i}", "m1", Outcome.COMPLETED, now=NOW)
    assert len(ledger._ends) <= module.SPARE_ENDS
    assert ledger._jobs == {}


def test_renewing_for_ever_leaves_nothing_behind(ledger) -> None:
    made = ledger.reserve("j1", ["m1"], ttl_ms=600_000, now=NOW)
    for i in range(5000):
        ledger.renew(made.id, ttl_ms=600_000, now=NOW + i / 100)
    assert len(ledger._ends) <= module.SPARE_ENDS + 2


def test_an_error_in_the_block_gives_the_own_slot_back(ledger) -> None:
    ledger.hold("j1", ["m1"], ttl_ms=2000, now=NOW)
    with pytest.raises(ZeroDivisionError), ledger.without("j1", now=NOW):
        _: Any = 1 / 0
    assert ledger._registry.free_slots("m1") == 9999


def test_what_a_removed_miner_held_is_dropped_and_nothing_else(ledger) -> None:
    registry = ledger._registry
    registry.upsert(row("m2", max_parallel=5), now=NOW, last_seen=NOW)
    ledger.reserve("j1", ["m1"], ttl_ms=1000, now=NOW)
    kept = ledger.reserve("j2", ["m2"], ttl_ms=1000, now=NOW)
    ledger.hold("j3", ["m1"], ttl_ms=1000, now=NOW)
    registry.remove("m1")
    assert ledger.live(now=NOW) == [kept]
    assert ledger.reservation_of("j1", now=NOW) is None


# ---- where several processes share a store


class Two:
    """Two processes' ledgers, each with a registry of its own that knows m1, on one store."""

    def __init__(self, slots: int) -> None:
        self.store = MemoryStore()
        self.here, self.there = (self._ledger(slots) for _ in range(2))

    def _ledger(self, slots: int) -> Ledger:
        registry = empty()
        registry.upsert(row("m1", max_parallel=slots), now=NOW, last_seen=NOW)
        registry.ledger = Ledger(registry, self.store, job_ttl_s=3600)
        return registry.ledger


def own(ledger: Ledger, now: float = NOW) -> int:
    return ledger._registry.get("m1", now=now).live.own


def test_a_match_of_a_job_that_another_process_reserved_leaves_the_count_as_it_is() -> None:
    two = Two(2)
    two.there.reserve("j1", ["m1"], ttl_ms=1000, now=NOW)
    with two.here.without("j1", now=NOW):
        assert own(two.here) == 0
    assert own(two.here) == 0


def test_a_renewal_of_what_another_process_reserved_counts_it_once(monkeypatch) -> None:
    two = Two(2)
    made = two.there.reserve("j1", ["m1"], ttl_ms=1000, now=NOW)
    for _ in range(2):
        two.here.renew(made.id, ttl_ms=5000, now=NOW)
    assert (own(two.here), own(two.there)) == (1, 1)
    assert (own(two.here, NOW + 5), own(two.there, NOW + 5)) == (0, 0)


def test_what_was_renewed_elsewhere_does_not_end_with_the_time_that_is_known_here() -> None:
    two = Two(1)
    made = two.here.reserve("j1", ["m1"], ttl_ms=1000, now=NOW)
    two.there.renew(made.id, ttl_ms=9000, now=NOW)
    two.here.expire(NOW + 1)
    assert [each.job_id for each in two.store.live(now=NOW + 1)] == ["j1"]
    assert two.here.reserve("j2", ["m1"], ttl_ms=1000, now=NOW + 1) is None


def test_one_that_ended_elsewhere_gives_its_job_no_second_slot() -> None:
    """Here j1 is counted still; of the two slots others have both by now."""
    two = Two(2)
    made = two.here.reserve("j1", ["m1"], ttl_ms=9000, now=NOW)
    two.there.release(made.id, now=NOW)
    for job_id in ("j2", "j3"):
        assert two.there.reserve(job_id, ["m1"], ttl_ms=9000, now=NOW) is not None
    assert two.here.reserve("j1", ["m1"], ttl_ms=9000, now=NOW) is None


def test_load_beyond_the_slots_is_counted_in_full_against_what_ended_elsewhere() -> None:
    """Of three slots two were ours; one ended elsewhere, and the miner has two jobs of its own now: no room for one more."""
    two = Two(3)
    ended, _ = (two.here.reserve(job_id, ["m1"], ttl_ms=9000, now=NOW) for job_id in ("j1", "j2"))
    two.here._registry.report("m1", Report(at=NOW, queue_len=4))  # two of them are ours
    two.there.release(ended.id, now=NOW)
    assert two.here.reserve("j3", ["m1"], ttl_ms=9000, now=NOW) is None


def test_a_job_that_reserved_anew_elsewhere_is_counted_where_it_is_now() -> None:
    two = Two(2)
    made = two.here.reserve("j1", ["m1"], ttl_ms=9000, now=NOW)
    two.there.release(made.id, now=NOW)
    again = two.there.reserve("j1", ["m1"], ttl_ms=9000, now=NOW)
    assert two.here.reserve("j1", ["m1"], ttl_ms=9000, now=NOW) == again
    assert own(two.here) == 1


def test_matches_holds_and_feedback_on_holds_need_no_store() -> None:
    registry = empty()
    registry.upsert(row("m1", max_parallel=1), now=NOW, last_seen=NOW)
    away = RedisStore(Redis(port=free_port(), **REDIS_OPTIONS), copy=tuple)
    ledger = registry.ledger = Ledger(registry, away, job_ttl_s=3600)
    with registry.lock, ledger.without("j1", now=NOW):
        pass
    ledger.hold("j1", ["m1"], ttl_ms=2000, now=NOW)
    ledger.settle("j1", "m1", Outcome.ACCEPTED, now=NOW)
    assert own(ledger) == 1
    with pytest.raises(Unavailable):
        ledger.settle("j1", "m1", Outcome.COMPLETED, now=NOW)
    assert own(ledger) == 0  # the hold has ended all the same
    with pytest.raises(Unavailable):
        ledger.reserve("j1", ["m1"], ttl_ms=2000, now=NOW)
    assert own(ledger) == 0
    registry.remove("m1")
