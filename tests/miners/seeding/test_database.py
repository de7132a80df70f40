"""Seed miners in the database: what a registration one by one would have left, in bulk."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import OperationalError
from django.db import connections as databases

from feedback.models import Feedback
from feedback.services import feedback_record
from matching.reservations.holds import Outcome
from miners.choices import CommandName
from miners.models import Miner, MinerStatus
from miners.profile import registered_profile
from miners.registry import loader, runtime
from miners.registry.records import State
from miners.registry.store import Registry
from miners.seeding import database
from miners.seeding.database import Stored, seed_miner_ids, seed_miners_remove, seed_miners_store
from miners.seeding.population import MinerSpec, population
from miners.serializers import NoArgs, RegisterRequest
from miners.services.commands import command_create
from miners.services.operators import (
    miner_create,
    miner_disable,
    miner_set_operator_drain,
    miner_set_price_cap,
    price_override_create,
)
from miners.services.registration import miner_register
from miners.sessions import hash_api_key
from poolhub.common import clock, codec
from tests.miners.builders import post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = "seed-00001"


def nothing(count: int) -> None:
    """Nobody watches."""


def specs(count: int = 5, seed: int = 1) -> list[MinerSpec]:
    return list(population(count, seed=seed))


def seed(count: int = 5, seed: int = 1) -> Stored:
    return seed_miners_store(specs=specs(count, seed), progress=nothing)


def register_one(spec: MinerSpec) -> None:
    asked = codec.convert(spec.body(), RegisterRequest)
    miner_register(
        miner_id=spec.miner_id, api_key=spec.api_key, profile=registered_profile(asked), now=clock.now()
    )  # fmt: skip


def loaded_anew() -> Registry:
    """As the next start of a hub has it."""
    registry = runtime.new_registry()
    loader.load(registry, now=clock.now())
    return registry


def row(miner_id: str = FIRST) -> dict[str, object]:
    return Miner.objects.values().get(miner_id=miner_id)


def test_the_next_start_of_a_hub_has_them_online_with_their_load(time) -> None:
    runtime.reset()
    assert seed(50) == Stored(created=50, updated=0)
    time.advance(119)
    registry = loaded_anew()
    assert sum(states[State.ONLINE] for states in registry.counts(now=time.now()).values()) == 50
    views = [registry.get(spec.miner_id, now=time.now()) for spec in specs(50)]
    assert sum(each.live.queue_len for each in views) > 0
    assert all(each.live.latency_ms and each.live.temp_c and each.live.mem_free_gb for each in views)
    assert all(each.live.foreign == max(each.live.queue_len, each.live.busy) for each in views)


def test_they_are_as_a_registration_over_rest_leaves_them(client, time) -> None:
    spec = specs(1)[0]
    reply = post(client, "/v1/miners/register", _json(spec))
    assert reply.status_code == 201
    by_rest, status_by_rest = row(), MinerStatus.objects.values().get()
    Miner.objects.all().delete()
    runtime.reset()
    seed(1)
    ours, status = row(), MinerStatus.objects.values().get()
    assert {**ours, "id": 0} == {**by_rest, "id": 0}
    assert (status["last_seen"], status["ts"], status["jobs"]) == (
        status_by_rest["last_seen"], status_by_rest["ts"], status_by_rest["jobs"],
    )  # fmt: skip


def _json(spec: MinerSpec) -> dict[str, object]:
    return {**spec.body(), "price_token_per_ksec": str(spec.price)}


def test_a_second_run_makes_no_second_miner_and_the_next_version_of_each(time) -> None:
    seed()
    before = {miner.miner_id: miner for miner in Miner.objects.all()}
    time.advance(10)
    assert seed(7) == Stored(created=2, updated=5)
    assert Miner.objects.count() == MinerStatus.objects.count() == 7
    for spec in specs():
        was, now = before[spec.miner_id], stored(spec.miner_id)
        assert now.version == was.version + 1
        assert now.session > was.session
        assert (now.pk, now.api_key_hash, now.created_at, now.trust_at) == (
            was.pk, was.api_key_hash, was.created_at, was.trust_at,
        )  # fmt: skip
        assert now.status.last_seen.timestamp() == now.registered_at.timestamp() == time.now()


def test_what_the_hub_and_its_operators_know_stays() -> None:
    seed()
    Miner.objects.update(trust_s=3, trust_f=1, latency_mean=40, latency_count=6)
    miner_set_operator_drain(miner_id=FIRST, drain=True)
    miner_set_price_cap(miner_id=FIRST, price=Decimal("0.2"))
    miner_disable(miner_id=FIRST)
    price_override_create(miner_id=FIRST, price=Decimal("0.1"))
    before = row()
    seed()
    kept = ("trust_s", "trust_f", "latency_mean", "latency_count", "operator_drain", "price_cap", "disabled")
    assert {name: row()[name] for name in kept} == {name: before[name] for name in kept}
    assert (view(FIRST).price, view(FIRST).state) == (10_000_000, State.DISABLED)


def test_a_miner_that_had_left_or_changed_is_back_as_it_was() -> None:
    seed()
    fresh = row()
    Miner.objects.update(logged_out=True, draining=True, price=9, tags=["old"], capabilities=[], region="moon")
    seed()
    moved = ("version", "session", "registered_at")
    assert {**row(), **dict.fromkeys(moved)} == {**fresh, **dict.fromkeys(moved)}


def test_another_seed_takes_the_miners_over_with_its_own_keys(client) -> None:
    seed(seed=1)
    assert seed(seed=2) == Stored(created=0, updated=5)
    ours, theirs = specs(1, seed=2)[0], specs(1, seed=1)[0]
    assert stored(FIRST).api_key_hash == hash_api_key(ours.api_key)
    assert post(client, "/v1/miners/register", _json(theirs)).status_code == 401
    assert post(client, "/v1/miners/register", _json(ours)).status_code == 200


def test_their_keys_open_a_session_where_enrolment_is_closed(client, settings) -> None:
    settings.ENROLLMENT = "closed"
    seed()
    reply = post(client, "/v1/miners/register", _json(specs(1)[0]))
    assert reply.status_code == 200
    assert post(client, "/v1/miners/update", {"queue_len": 1}, token=reply.json()["session_token"]).status_code == 200


def test_the_registry_of_this_process_follows(registry) -> None:
    seed()
    assert len(registry) == 5
    assert view(FIRST).state is State.ONLINE
    assert [view(each.miner_id).live.queue_len for each in specs()] == [
        stored(each.miner_id).status.queue_len for each in specs()
    ]  # fmt: skip
    seed(seed=2)
    assert view(FIRST).row.version == stored(FIRST).version == 2
    assert view(FIRST).row.addr == specs(1, seed=2)[0].addr
    assert seed_miners_remove(progress=nothing) == 5
    assert len(registry) == 0


def test_a_token_from_before_has_ended(client) -> None:
    token = post(client, "/v1/miners/register", _json(specs(1)[0])).json()["session_token"]
    seed()
    assert post(client, "/v1/miners/update", {}, token=token).status_code == 401


def test_no_registry_is_loaded_for_it() -> None:
    """100,000 miners of a hub would take seconds, for a process that matches nothing."""
    runtime.reset()
    seed()
    seed_miners_remove(progress=nothing)
    assert runtime.loaded() is None


def test_all_of_them_are_seen_at_the_end_of_a_long_run(time, monkeypatch) -> None:
    monkeypatch.setattr(database, "CHUNK", 2)
    register("m1")
    long_ago = stored("m1").status.last_seen
    time.advance(1)
    seed_miners_store(specs=specs(), progress=lambda count: time.advance(100 * count))
    seen = set(MinerStatus.objects.exclude(miner="m1").values_list("last_seen", flat=True))
    assert {at.timestamp() for at in seen} == {time.now()}
    assert stored("m1").status.last_seen == long_ago


def test_a_run_that_is_cut_short_leaves_whole_miners(monkeypatch) -> None:
    monkeypatch.setattr(database, "CHUNK", 2)
    told = []

    def cut(count: int) -> None:
        told.append(count)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed_miners_store(specs=specs(), progress=cut)
    assert told == [2, 2]
    assert Miner.objects.count() == MinerStatus.objects.count() == 4
    assert seed() == Stored(created=1, updated=4)


def test_progress_is_told_of_every_miner(monkeypatch) -> None:
    monkeypatch.setattr(database, "CHUNK", 2)
    stored_counts, removed_counts = [], []
    seed_miners_store(specs=specs(), progress=stored_counts.append)
    seed_miners_remove(progress=removed_counts.append)
    assert stored_counts == removed_counts == [2, 2, 1]


@pytest.mark.parametrize("turn", range(2))
def test_miners_that_register_meanwhile_end_as_one_row_that_the_registry_has(turn, monkeypatch) -> None:
    """Two runs and a registration of each miner at once: 3 changes a miner, none lost."""
    monkeypatch.setattr(database, "CHUNK", 5)
    crowd = specs(20)
    calls: list[Callable[[], object]] = [
        lambda: seed_miners_store(specs=crowd, progress=nothing),
        lambda: seed_miners_store(specs=crowd, progress=nothing),
        lambda: [register_one(spec) for spec in crowd],
    ]
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        finally:
            databases.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(one, calls))
    assert Miner.objects.count() == MinerStatus.objects.count() == 20
    for spec in crowd:
        assert stored(spec.miner_id).version == view(spec.miner_id).row.version == 3
        assert view(spec.miner_id).row.session == stored(spec.miner_id).session


def test_a_chunk_that_lost_to_another_transaction_is_tried_again_from_its_beginning() -> None:
    tries = []

    def work() -> str:
        tries.append(Miner.objects.count())
        register(f"m{len(tries)}")
        if len(tries) < 3:
            raise OperationalError("deadlock detected")
        return "done"

    assert database._tried(work) == "done"
    assert tries == [0, 0, 0]
    assert Miner.objects.get().miner_id == "m3"


def test_a_database_that_goes_on_failing_is_given_up() -> None:
    def work() -> None:
        raise OperationalError("no such table")

    with pytest.raises(OperationalError, match="no such table"):
        database._tried(work)


def test_removing_takes_the_seed_miners_and_all_that_hangs_on_them_alone(registry) -> None:
    seed()
    register("m1")
    miner_create(miner_id="seed-bank")
    for miner_id in (FIRST, "m1"):
        feedback_record(job_id="j", miner_id=miner_id, outcome=Outcome.COMPLETED)
        command_create(miner_id=miner_id, name=CommandName.DRAIN, args=NoArgs())
        price_override_create(miner_id=miner_id, price=Decimal(1))
    assert seed_miner_ids() == [spec.miner_id for spec in specs()]
    assert seed_miners_remove(progress=nothing) == 5
    assert set(Miner.objects.values_list("miner_id", flat=True)) == {"m1", "seed-bank"}
    assert Feedback.objects.get().miner.miner_id == "m1"
    assert MinerStatus.objects.count() == 2
    assert set(registry.slots) == {"m1", "seed-bank"}
    assert seed_miners_remove(progress=nothing) == 0


def test_removed_miners_can_be_made_again() -> None:
    seed()
    seed_miners_remove(progress=nothing)
    assert seed() == Stored(created=5, updated=0)
    assert view(FIRST).state is State.ONLINE
