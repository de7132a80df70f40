"""Reservations over HTTP: `reserve` on a match, renew, release, list (contract, section 6)."""

import uuid

import pytest
from django.test import Client

from tests.matching.builders import (
    COORDINATOR,
    add,
    ask,
    fields_of,
    first,
    match,
    own,
    pool,
    report,
    reservations,
    reserve,
    tell,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def three_miners(registry) -> None:
    """One slot each; a is cheapest, then b, then c."""
    pool("a", "b", "c", max_parallel=1)


def post(path: str, body=None):
    if body is None:
        return Client().generic("POST", path, headers=COORDINATOR)  # no body at all
    return Client().post(path, body, content_type="application/json", headers=COORDINATOR)


def renew(reservation_id: str, body=None):
    return post(f"/v1/reservations/{reservation_id}/renew", body)


def release(reservation_id: str):
    return Client().delete(f"/v1/reservations/{reservation_id}", headers=COORDINATOR)


def listed() -> list:
    reply = Client().get("/v1/reservations", headers=COORDINATOR)
    assert reply.status_code == 200
    assert reply.json().keys() == {"results"}
    return reply.json()["results"]


# ---- taking one


def test_a_match_that_reserves_names_its_reservation(client) -> None:
    answer = match(client, "j1", reserve=True, top_k=3)
    assert answer["reservation"].keys() == {"id", "miner_id", "expires_at"}
    assert answer["reservation"]["miner_id"] == answer["candidates"][0]["miner_id"] == "a"
    assert answer["reservation"]["expires_at"] == "2027-01-15T08:00:30.000Z"  # 30 s unless it is asked
    assert uuid.UUID(answer["reservation"]["id"])
    assert own("a") == 1


@pytest.mark.parametrize("asked", [None, False])
def test_without_reserve_there_is_none(client, asked) -> None:
    assert "reservation" not in match(client, reserve=asked, reservation_ttl_ms=5000)
    assert listed() == []


@pytest.mark.parametrize(
    ("ttl_ms", "at"), [(1000, "08:00:01.000Z"), (1500, "08:00:01.500Z"), (600_000, "08:10:00.000Z")]
)
def test_it_lasts_as_long_as_asked(client, ttl_ms, at) -> None:
    assert reserve(client, reservation_ttl_ms=ttl_ms)["expires_at"] == f"2027-01-15T{at}"


def test_it_takes_the_best_that_has_a_slot(client) -> None:
    assert [reserve(client, f"j{i}")["miner_id"] for i in range(3)] == ["a", "b", "c"]


def test_when_all_are_full_the_answer_comes_without_one(client) -> None:
    for i in range(3):
        reserve(client, f"j{i}")
    answer = match(client, "j3", reserve=True)
    assert "reservation" not in answer
    assert answer["explain"] == "no miner of 3 is eligible: capacity rejected 3"
    assert len(listed()) == 3


def test_reported_load_and_reservations_never_exceed_the_slots(client) -> None:
    add("d", price=0, max_parallel=3)
    report("d", queue_len=2)
    assert [reserve(client, f"j{i}")["miner_id"] for i in range(2)] == ["d", "a"]
    report("d", queue_len=3)  # one of them is ours
    assert own("d") == 1
    report("d", queue_len=1)  # ours: the others are done
    assert [reserve(client, f"j{i}")["miner_id"] for i in range(2, 5)] == ["d", "d", "b"]


def test_a_dry_run_reserves_nothing(client) -> None:
    assert reserve(client, dry_run=True) is None
    assert (listed(), own("a")) == ([], 0)


def test_a_reservation_counts_against_every_other_job(client) -> None:
    reserve(client, "j1")
    assert first(client, "j2", dry_run=True) == "b"
    assert match(client, "j2", dry_run=True)["rejected"] == {"capacity": 1}


# ---- the same job again


def test_asked_again_the_job_gets_the_reservation_it_has(client, fake_clock) -> None:
    made = reserve(client)
    fake_clock.advance(10)
    again = match(client, reserve=True, reservation_ttl_ms=600_000, top_k=2)
    assert again["reservation"] == made
    assert [each["miner_id"] for each in again["candidates"]] == ["a", "b"]
    assert own("a") == 1


def test_its_own_slot_does_not_count_against_it(client) -> None:
    report("a", latency_ms=100.0)
    once, again = match(client, reserve=True), match(client, reserve=True)
    assert once == again
    assert match(client) == {name: value for name, value in once.items() if name != "reservation"}


def test_its_miner_comes_first_even_where_another_is_better_now(client) -> None:
    made = reserve(client, requirements={"exclude_miners": ["a"]})
    again = match(client, reserve=True, top_k=2)
    assert (again["reservation"], made["miner_id"]) == (made, "b")
    assert [each["miner_id"] for each in again["candidates"]] == ["b", "a"]
    assert again["explain"] == again["candidates"][0]["explain"]
    assert again["eligible"] == 3
    assert len(match(client, reserve=True, top_k=1)["candidates"]) == 1


@pytest.mark.parametrize("gone", [{"disabled": True}, {"logged_out": True}, {"draining": True}, {"gpu_vram": 1.0}])
def test_its_miner_comes_first_even_where_it_is_no_longer_eligible(client, gone) -> None:
    made = reserve(client, reservation_ttl_ms=600_000)
    add("a", max_parallel=1, **gone)
    again = match(client, reserve=True, top_k=3, requirements={"min_vram_gb": 8})
    assert again["reservation"] == made
    assert [each["miner_id"] for each in again["candidates"]] == ["a", "b", "c"]
    assert (again["considered"], again["eligible"], sum(again["rejected"].values())) == (3, 2, 1)


def test_its_miner_comes_first_where_it_has_gone_silent(client, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=600_000)
    fake_clock.advance(121)
    again = match(client, reserve=True)
    assert (again["reservation"], again["eligible"], again["rejected"]) == (made, 0, {"offline": 3})
    assert again["candidates"][0]["miner_id"] == "a"


def test_without_reserve_its_miner_has_no_privilege(client) -> None:
    reserve(client, requirements={"exclude_miners": ["a"]})
    answer = match(client)
    assert ("reservation" in answer, answer["candidates"][0]["miner_id"]) == (False, "a")


def test_after_it_ran_out_the_job_gets_a_new_one(client, fake_clock) -> None:
    made = reserve(client)
    fake_clock.advance(30)
    again = reserve(client)
    assert (again["miner_id"], again["id"] == made["id"], own("a")) == ("a", False, 1)


# ---- renew


def test_renew_answers_with_the_reservation_and_its_new_end(client, fake_clock) -> None:
    made = reserve(client, "j1")
    fake_clock.advance(20)
    reply = renew(made["id"], {"reservation_ttl_ms": 60_000})
    assert (reply.status_code, reply.json()) == (
        200, {"id": made["id"], "job_id": "j1", "miner_id": "a", "expires_at": "2027-01-15T08:01:20.000Z"},
    )  # fmt: skip
    fake_clock.advance(59.9)
    assert own("a") == 1
    fake_clock.advance(0.1)
    assert own("a") == 0


@pytest.mark.parametrize("body", [None, {}, {"reservation_ttl_ms": None}])
def test_left_out_it_is_as_long_as_asked_at_first(client, fake_clock, body) -> None:
    made = reserve(client, reservation_ttl_ms=10_000)
    renew(made["id"], {"reservation_ttl_ms": 300_000})
    fake_clock.advance(5)
    assert renew(made["id"], body).json()["expires_at"] == "2027-01-15T08:00:15.000Z"


def test_renew_may_shorten(client, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=600_000)
    renew(made["id"], {"reservation_ttl_ms": 1000})
    fake_clock.advance(1)
    assert (listed(), own("a")) == ([], 0)


@pytest.mark.parametrize("ttl_ms", [999, 600_001, 0, -1, True, "5000", 1500.5])
def test_a_wrong_time_is_422_and_changes_nothing(client, ttl_ms) -> None:
    made = reserve(client)
    assert list(fields_of(renew(made["id"], {"reservation_ttl_ms": ttl_ms}))) == ["reservation_ttl_ms"]
    assert listed()[0]["expires_at"] == made["expires_at"]


def test_renew_reads_its_body_as_every_route_does(client) -> None:
    path = f"/v1/reservations/{reserve(client)['id']}/renew"
    assert Client().post(path, b"{", content_type="application/json", headers=COORDINATOR).status_code == 400
    assert Client().post(path, b"{}", content_type="text/plain", headers=COORDINATOR).status_code == 415


def test_renew_of_what_is_gone_is_404(client, fake_clock) -> None:
    expired, released = reserve(client, "j1"), reserve(client, "j2", reservation_ttl_ms=600_000)
    release(released["id"])
    fake_clock.advance(30)
    for name in (expired["id"], released["id"], str(uuid.uuid4()), "nothing"):
        reply = renew(name)
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


# ---- release


def test_release_frees_the_slot_at_once(client) -> None:
    made = reserve(client, "j1")
    reply = release(made["id"])
    assert (reply.status_code, reply.content) == (204, b"")
    assert (own("a"), listed(), reserve(client, "j2")["miner_id"]) == (0, [], "a")


def test_release_of_what_is_gone_is_204_too(client, fake_clock) -> None:
    made = reserve(client, "j1")
    assert [release(made["id"]).status_code for _ in range(2)] == [204, 204]
    assert [release(name).status_code for name in (str(uuid.uuid4()), "nothing")] == [204, 204]
    expired = reserve(client, "j1")
    fake_clock.advance(30)
    reserve(client, "j2")
    assert release(expired["id"]).status_code == 204
    assert own("a") == 1


def test_a_released_job_may_reserve_again(client) -> None:
    made = reserve(client)
    release(made["id"])
    assert reserve(client)["id"] != made["id"]


# ---- list


def test_the_list_has_the_live_ones_the_next_to_end_first(client, fake_clock) -> None:
    made = [reserve(client, f"j{i}", reservation_ttl_ms=ttl) for i, ttl in enumerate((5000, 1000, 3000))]
    assert [each["job_id"] for each in listed()] == ["j1", "j2", "j0"]
    assert listed()[2] == {"id": made[0]["id"], "job_id": "j0", "miner_id": "a", "expires_at": made[0]["expires_at"]}
    fake_clock.advance(1)
    assert [each["job_id"] for each in listed()] == ["j2", "j0"]


@pytest.mark.parametrize("suffix", ["", "/"])
def test_every_route_is_there_with_and_without_a_slash(client, suffix) -> None:
    made = reserve(client)
    assert Client().get(f"/v1/reservations{suffix}", headers=COORDINATOR).status_code == 200
    assert post(f"/v1/reservations/{made['id']}/renew{suffix}").status_code == 200
    assert Client().delete(f"/v1/reservations/{made['id']}{suffix}", headers=COORDINATOR).status_code == 204


def test_other_methods_are_405(client) -> None:
    assert post("/v1/reservations").status_code == 405
    assert Client().get("/v1/reservations/x", headers=COORDINATOR).status_code == 405
    assert Client().get("/v1/reservations/x/renew", headers=COORDINATOR).status_code == 405


# ---- feedback


@pytest.mark.parametrize("outcome", ["rejected", "failed", "completed"])
def test_what_ends_the_job_ends_its_reservation(client, outcome) -> None:
    reserve(client)
    tell("j1", "a", outcome)
    assert (own("a"), listed()) == (0, [])


@pytest.mark.parametrize(("miner_id", "outcome"), [("a", "accepted"), ("b", "accepted"), ("b", "rejected")])
def test_what_does_not_end_the_job_leaves_its_reservation(client, miner_id, outcome) -> None:
    made = reserve(client)
    tell("j1", miner_id, outcome)
    assert [each["id"] for each in listed()] == [made["id"]]
    assert own("a") == 1


def test_a_removed_miner_takes_its_reservations_along(client, registry) -> None:
    reserve(client, "j1")
    reserve(client, "j2")
    registry.remove("a")
    add("a", max_parallel=1)
    assert ([each.job_id for each in reservations()], own("a"), own("b")) == (["j2"], 0, 1)
    assert reserve(client, "j1")["miner_id"] == "c"  # a is dearest now


def test_ask_for_a_reservation_with_a_refused_body_changes_nothing(client) -> None:
    assert ask(client, reserve=True, reservation_ttl_ms=5).status_code == 422
    assert listed() == []
