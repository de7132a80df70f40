"""Soft holds: an answer keeps one slot of its first candidate for a while (contract, section 6)."""

import pytest

from tests.matching.builders import add, ask, first, match, own, pool, report, reserve, tell


@pytest.fixture(autouse=True)
def three_miners(registry) -> None:
    """One slot each; a is cheapest, then b, then c."""
    pool("a", "b", "c", max_parallel=1)


def test_simultaneous_jobs_do_not_herd_onto_one_miner(client) -> None:
    assert [first(client, f"j{i}") for i in range(4)] == ["a", "b", "c", None]
    assert match(client, "j4")["rejected"] == {"capacity": 3}


def test_only_the_first_candidate_is_held(client) -> None:
    match(client, top_k=3)
    assert (own("a"), own("b"), own("c")) == (1, 0, 0)


def test_a_hold_occupies_a_slot_as_a_job_does(client) -> None:
    add("d", price=0, max_parallel=4)
    report("d", latency_ms=100.0)
    assert first(client, "j1") == "d"
    seen = match(client, "j2")["candidates"][0]
    assert (seen["eta_ms"], seen["components"]["load"]) == (125, 0.75)  # 100 × (1 + 1/4); 3/4 for 3 free


def test_a_hold_ends_after_its_time(client, fake_clock) -> None:
    assert first(client, "j1") == "a"
    fake_clock.advance(1.999)
    assert (own("a"), first(client, "j2", dry_run=True)) == (1, "b")
    fake_clock.advance(0.001)
    assert (own("a"), first(client, "j2", dry_run=True)) == (0, "a")


def test_how_long_it_holds_is_a_setting(client, settings, fake_clock) -> None:
    settings.SOFT_HOLD_MS = 500
    match(client)
    fake_clock.advance(0.499)
    assert own("a") == 1
    fake_clock.advance(0.001)
    assert own("a") == 0


def test_zero_turns_holds_off(client, settings) -> None:
    settings.SOFT_HOLD_MS = 0
    assert [first(client, f"j{i}") for i in range(3)] == ["a", "a", "a"]
    tell("j0", "a", "accepted")
    assert own("a") == 0


def test_a_dry_run_holds_nothing(client) -> None:
    assert [first(client, f"j{i}", dry_run=True) for i in range(2)] == ["a", "a"]
    assert [first(client, f"j{i}", dry_run=True, reserve=True) for i in range(2)] == ["a", "a"]
    assert own("a") == 0


def test_a_dry_run_leaves_the_jobs_hold_as_it_was(client, fake_clock) -> None:
    match(client)
    fake_clock.advance(1.5)
    match(client, dry_run=True, requirements={"exclude_miners": ["a"]})
    assert (own("a"), own("b")) == (1, 0)
    fake_clock.advance(0.5)
    assert own("a") == 0


def test_why_not_holds_nothing_and_meets_the_jobs_own_hold(client) -> None:
    match(client, "j1")
    assert ask(client, "/v1/match/why-not", miner_id="a", job_id="j1").json()["eligible"] is True
    assert ask(client, "/v1/match/why-not", miner_id="a", job_id="j2").json()["eligible"] is False
    assert own("a") == 1


# ---- the same job again


def test_a_job_asked_again_meets_its_own_hold(client) -> None:
    assert [first(client), first(client)] == ["a", "a"]
    assert own("a") == 1


def test_asked_again_the_hold_moves_to_the_new_first_candidate(client) -> None:
    match(client)
    match(client, requirements={"exclude_miners": ["a"]})
    assert (own("a"), own("b")) == (0, 1)


def test_asked_again_without_a_candidate_it_ends(client) -> None:
    match(client)
    match(client, requirements={"min_vram_gb": 1000})
    assert own("a") == 0


def test_asked_again_its_time_starts_anew(client, fake_clock) -> None:
    match(client)
    fake_clock.advance(1.5)
    match(client)
    fake_clock.advance(1.5)
    assert own("a") == 1
    fake_clock.advance(0.5)
    assert own("a") == 0


def test_its_own_hold_does_not_count_in_score_and_eta(client) -> None:
    report("a", latency_ms=100.0)
    assert match(client) == match(client)


# ---- feedback


def test_an_accepted_job_keeps_its_slot_until_the_final_outcome(client, fake_clock) -> None:
    match(client)
    tell("j1", "a", "accepted")
    fake_clock.advance(50)
    assert own("a") == 1
    tell("j1", "a", "completed")
    assert own("a") == 0


def test_an_accepted_job_keeps_its_slot_at_most_for_the_job_ttl(client, fake_clock) -> None:
    match(client)
    fake_clock.advance(1)
    tell("j1", "a", "accepted")
    fake_clock.advance(3599.999)
    assert own("a") == 1
    fake_clock.advance(0.001)
    assert own("a") == 0


def test_an_accepted_hold_stays_where_it_is_when_the_job_is_asked_again(client, fake_clock) -> None:
    match(client)
    tell("j1", "a", "accepted")
    assert first(client, requirements={"exclude_miners": ["a"]}) == "b"
    assert (own("a"), own("b")) == (1, 0)
    fake_clock.advance(1000)
    assert own("a") == 1


def test_accepted_for_another_candidate_moves_the_hold_there(client, fake_clock) -> None:
    match(client, top_k=2)
    tell("j1", "b", "accepted")
    assert (own("a"), own("b")) == (0, 1)
    fake_clock.advance(1000)
    assert own("b") == 1


def test_accepted_for_a_miner_that_was_not_offered_changes_nothing(client, fake_clock) -> None:
    match(client, top_k=2)
    tell("j1", "c", "accepted")
    tell("j2", "a", "accepted")
    assert (own("a"), own("c")) == (1, 0)
    fake_clock.advance(2)
    assert own("a") == 0


def test_another_candidate_is_one_of_the_newest_answer(client) -> None:
    match(client, top_k=2)  # a, b
    match(client, top_k=2, requirements={"exclude_miners": ["b"]})  # a, c
    tell("j1", "b", "accepted")
    assert (own("a"), own("b")) == (1, 0)
    tell("j1", "c", "accepted")
    assert (own("a"), own("c")) == (0, 1)


def test_an_accepted_hold_moves_on_when_another_candidate_accepts(client) -> None:
    match(client, top_k=2)
    tell("j1", "a", "accepted")
    tell("j1", "b", "accepted")
    assert (own("a"), own("b")) == (0, 1)


def test_accepted_too_late_takes_no_slot(client, fake_clock) -> None:
    match(client)
    fake_clock.advance(2)
    tell("j1", "a", "accepted")
    assert own("a") == 0


@pytest.mark.parametrize("outcome", ["rejected", "failed", "completed"])
@pytest.mark.parametrize("accepted", [False, True])
def test_every_other_outcome_ends_the_hold(client, outcome, accepted) -> None:
    match(client)
    if accepted:
        tell("j1", "a", "accepted")
    tell("j1", "a", outcome)
    assert own("a") == 0
    tell("j1", "a", outcome)
    assert own("a") == 0


def test_rejected_by_another_miner_changes_nothing(client) -> None:
    match(client, top_k=2)
    tell("j1", "b", "rejected")
    assert own("a") == 1


@pytest.mark.parametrize("outcome", ["rejected", "failed", "completed", "accepted"])
def test_what_is_told_of_one_job_leaves_others_alone(client, outcome) -> None:
    match(client, "j1")
    tell("j2", "a", outcome)
    assert own("a") == 1


# ---- load


def test_a_job_that_the_hub_placed_counts_once_when_the_miner_reports_it(client) -> None:
    add("a", price=0, max_parallel=2)
    match(client, "j1")
    tell("j1", "a", "accepted")
    report("a", queue_len=1)
    assert first(client, "j2") == "a"
    assert first(client, "j3") == "b"


def test_a_job_from_elsewhere_counts_beside_the_hubs_own(client) -> None:
    add("a", price=0, max_parallel=2)
    match(client, "j1")
    report("a", queue_len=2)
    assert first(client, "j2") == "b"


def test_the_slot_of_a_finished_job_is_free_at_once_although_the_last_report_had_it(client) -> None:
    match(client, "j1")
    tell("j1", "a", "accepted")
    report("a", queue_len=1, busy=True)
    tell("j1", "a", "completed")
    assert first(client, "j2") == "a"


def test_a_report_after_a_hold_ran_out_counts_in_full(client, fake_clock) -> None:
    match(client, "j1")
    fake_clock.advance(2)
    report("a", queue_len=1)
    assert first(client, "j2") == "b"


# ---- with reservations


@pytest.mark.django_db
def test_a_reservation_replaces_the_hold(client, fake_clock) -> None:
    match(client)
    assert reserve(client)["miner_id"] == "a"
    assert own("a") == 1
    fake_clock.advance(2)
    assert own("a") == 1


@pytest.mark.django_db
def test_a_reservation_elsewhere_ends_the_hold(client) -> None:
    match(client)
    assert reserve(client, requirements={"exclude_miners": ["a"]})["miner_id"] == "b"
    assert (own("a"), own("b")) == (0, 1)


@pytest.mark.django_db
def test_a_reservation_replaces_an_accepted_hold_too(client, fake_clock) -> None:
    match(client)
    tell("j1", "a", "accepted")
    assert reserve(client)["miner_id"] == "a"
    fake_clock.advance(30)
    assert own("a") == 0


def test_a_reservation_that_nobody_can_give_leaves_the_hold(client) -> None:
    match(client)
    assert reserve(client, requirements={"min_vram_gb": 1000}) is None
    assert own("a") == 1


@pytest.mark.django_db
def test_a_job_with_a_live_reservation_gets_no_hold(client, fake_clock) -> None:
    reserve(client)
    assert first(client, requirements={"exclude_miners": ["a"]}) == "b"
    assert (own("a"), own("b")) == (1, 0)
    fake_clock.advance(30)
    match(client)
    assert own("a") == 1
    fake_clock.advance(2)
    assert own("a") == 0


# ---- miners that go


def test_a_removed_miner_takes_its_holds_along(client, registry, fake_clock) -> None:
    match(client, top_k=2)
    registry.remove("a")
    add("a", max_parallel=1)
    assert own("a") == 0
    fake_clock.advance(2)
    assert own("a") == 0
    tell("j1", "a", "accepted")
    assert own("a") == 0
