"""What feedback changes for the next match: trust, latency, holds and reservations (contract, sections 4 to 6)."""

import pytest
from django.db import DatabaseError, OperationalError, connection

from feedback.models import Feedback
from miners.registry import loader, runtime
from miners.services.operators import miner_remove
from poolhub.common import clock
from tests.feedback.builders import send, tell
from tests.matching.builders import first, match, own, report, reservations, reserve
from tests.miners.builders import register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 86_400


@pytest.fixture(autouse=True)
def two_miners(registry) -> None:
    register("m1", max_parallel=2)
    register("m2", max_parallel=2)


# ---- trust


def test_trust_is_in_the_next_match(client) -> None:
    tell("completed")
    assert match(client)["candidates"][0]["components"]["trust"] == 0.6
    assert match(client)["candidates"][0]["explain"].split(" • ")[3] == "trust=0.60"


def test_who_fails_comes_after_who_does_not(client) -> None:
    assert first(client, dry_run=True) == "m1"
    tell("failed", "m1", "x", fail_code="timeout")
    assert first(client, dry_run=True) == "m2"
    tell("failed", "m2", "x")
    assert first(client, dry_run=True) == "m1"


def test_min_trust_asks_for_what_feedback_made(client) -> None:
    tell("completed", "m2")
    assert match(client, requirements={"min_trust": 0.6})["rejected"] == {"min_trust": 1}
    assert first(client, requirements={"min_trust": 0.6}) == "m2"


def test_trust_is_the_fold_of_what_was_told_over_time(client, fake_clock) -> None:
    tell("completed", job_id="a")
    fake_clock.advance(30 * DAY_S)
    assert tell("failed", job_id="b") == round(2.5 / 6.5, 6)  # s = 1/2, f = 2
    fake_clock.advance(30 * DAY_S)
    assert tell("accepted", job_id="c") == round(2.25 / 5.25, 6)  # s = 1/4, f = 1
    assert view().trust == pytest.approx(2.25 / 5.25)


def test_the_half_life_is_a_setting(settings, fake_clock) -> None:
    settings.TRUST_HALF_LIFE_DAYS = 1.0
    tell("completed", job_id="a")
    fake_clock.advance(DAY_S)
    assert tell("completed", job_id="b") == round(3.5 / 5.5, 6)


def test_a_restart_finds_the_same_trust(client) -> None:
    tell("completed", latency_ms=10)
    before = view()
    made = runtime.new_registry()
    loader.load(made, now=clock.now())
    runtime.set_registry(made)
    assert (view().trust, view().row) == (before.trust, before.row)


def test_trust_stays_over_a_new_registration() -> None:
    tell("completed")
    register("m1", max_parallel=2)
    assert view().trust == pytest.approx(0.6)


# ---- latency


def latency_told(times: int, miner_id: str = "m1", **more) -> None:
    for i in range(times):
        tell("completed", miner_id, f"{miner_id}-{i}", latency_ms=100.0 * (i + 1), **more)


def test_from_five_measurements_on_the_hubs_own_mean_counts(client) -> None:
    report("m1", latency_ms=40.0)
    latency_told(4)
    assert match(client, dry_run=True)["candidates"][0]["eta_ms"] == 40
    tell("rejected", "m1", "one more", latency_ms=500.0)
    assert match(client, dry_run=True)["candidates"][0]["eta_ms"] == 300  # (100 + 200 + 300 + 400 + 500) / 5
    report("m1", latency_ms=1.0)
    assert match(client, dry_run=True)["candidates"][0]["eta_ms"] == 300


def test_only_feedback_with_a_latency_is_a_measurement(client) -> None:
    report("m1", latency_ms=40.0)
    latency_told(4)
    for i in range(10):
        tell("accepted", "m1", f"x{i}")
    send("completed", "m1", "m1-0", latency_ms=9e9)  # a repeat
    assert (stored().latency_count, stored().latency_mean) == (4, 250.0)
    assert match(client, dry_run=True)["candidates"][0]["eta_ms"] == 40


def test_a_measured_latency_ranks_the_miner(client, fake_clock) -> None:
    report("m1", latency_ms=10.0)
    report("m2", latency_ms=50.0)
    found = match(client, top_k=2, dry_run=True)["candidates"]
    assert {each["miner_id"]: each["components"]["latency"] for each in found} == {"m1": 1.0, "m2": 0.5}
    latency_told(5)  # 300 on average
    fake_clock.advance(1)
    found = match(client, top_k=2, dry_run=True)["candidates"]
    assert {each["miner_id"]: each["components"]["latency"] for each in found} == {"m1": 0.5, "m2": 1.0}


def test_latencies_of_nothing_and_of_ages_are_measurements_too() -> None:
    for i, latency_ms in enumerate((0, 10**12, 0, 10**12)):
        tell("completed", job_id=f"x{i}", latency_ms=latency_ms)
    assert (stored().latency_count, stored().latency_mean) == (4, pytest.approx(5e11))


# ---- holds and reservations


def test_accepted_keeps_the_hold_and_the_outcome_ends_it(client, fake_clock) -> None:
    match(client)
    tell("accepted")
    fake_clock.advance(60)
    assert own("m1") == 1
    tell("completed")
    assert own("m1") == 0


@pytest.mark.parametrize("outcome", ["completed", "failed", "rejected"])
def test_an_outcome_ends_the_reservation_before_it_is_answered(client, outcome) -> None:
    reserve(client)
    tell(outcome)
    assert (reservations(), own("m1")) == ([], 0)


def test_rejected_by_another_miner_leaves_the_reservation(client) -> None:
    reserve(client)
    tell("rejected", "m2")
    assert (len(reservations()), own("m1")) == (1, 1)


def test_a_repeat_does_not_end_a_newer_reservation_or_hold(client) -> None:
    reserve(client)
    tell("rejected")
    newer = reserve(client)
    assert send("rejected").json()["duplicate"] is True
    assert [each.id for each in reservations()] == [newer["id"]]


def test_a_refused_outcome_ends_nothing(client) -> None:
    tell("completed")
    reserve(client)
    assert send("failed").status_code == 409
    assert len(reservations()) == 1


def test_what_cannot_be_written_ends_nothing_and_is_no_evidence(client) -> None:
    reserve(client)

    def full(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            raise DatabaseError("the disk is full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(full), pytest.raises(DatabaseError):
        send("completed")
    nothing_was_told()


def test_what_cannot_be_committed_ends_nothing_and_is_no_evidence(client, monkeypatch) -> None:
    reserve(client)

    def gone() -> None:
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "_commit", gone)
        assert send("completed").status_code == 503
    nothing_was_told()


def nothing_was_told() -> None:
    assert (len(reservations()), own("m1"), view().trust) == (1, 1, 0.5)
    assert not Feedback.objects.exists()
    assert tell("completed") == 0.6


def test_a_removed_miner_takes_its_feedback_along(client) -> None:
    tell("completed")
    miner_remove(miner_id="m1")
    assert not Feedback.objects.exists()
    assert send("completed").status_code == 404
