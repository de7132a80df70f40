"""POST /v1/feedback: the answer, and what it refuses."""

from decimal import Decimal

import pytest
from django.test import Client

from feedback.models import Feedback
from poolhub.common import clock
from poolhub.common.metrics import FEEDBACK
from tests.feedback.builders import URL, send, tell
from tests.matching.builders import COORDINATOR, fields_of
from tests.miners.builders import register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 86_400


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "failed", "completed"])
def test_what_is_new_is_201_and_in_the_database(outcome, fake_clock) -> None:
    register()
    reply = send(outcome, latency_ms=120.5, fail_code="oom", tokens_spent="1.5")
    trust = {"accepted": 0.5, "rejected": 0.470588, "failed": 0.333333, "completed": 0.6}[outcome]
    assert (reply.status_code, reply.json()) == (
        201, {"job_id": "j1", "miner_id": "m1", "outcome": outcome, "trust_score": trust, "duplicate": False},
    )  # fmt: skip
    kept = Feedback.objects.get()
    assert (kept.job_id, kept.miner.miner_id, kept.outcome) == ("j1", "m1", outcome)
    assert (kept.latency_ms, kept.fail_code, kept.tokens_spent) == (120.5, "oom", Decimal("1.5"))
    assert kept.created_at == clock.to_datetime(fake_clock.now())


def test_what_is_left_out_or_null_is_not_known() -> None:
    register()
    tell("completed", job_id="j1")
    tell("completed", job_id="j2", latency_ms=None, fail_code=None, tokens_spent=None)
    for kept in Feedback.objects.all():
        assert (kept.latency_ms, kept.fail_code, kept.tokens_spent) == (None, "", None)


def test_a_repeat_is_200_and_changes_nothing(fake_clock) -> None:
    register()
    tell("completed", latency_ms=100, tokens_spent=1)
    before, miner = Feedback.objects.values().get(), stored()
    fake_clock.advance(30 * DAY_S)
    reply = send("completed", latency_ms=900, tokens_spent=2)
    assert (reply.status_code, reply.json()) == (
        200,
        {"job_id": "j1", "miner_id": "m1", "outcome": "completed", "trust_score": 0.555556, "duplicate": True},
    )  # 2.5 / 4.5: as of now
    assert Feedback.objects.values().get() == before
    assert (stored().version, stored().latency_count) == (miner.version, 1)


def test_one_job_may_have_one_of_each_outcome_that_is_not_final() -> None:
    register()
    for outcome in ("accepted", "rejected", "completed"):
        assert send(outcome).status_code == 201
    for outcome in ("accepted", "rejected", "completed"):
        assert send(outcome).status_code == 200
    assert Feedback.objects.count() == 3


@pytest.mark.parametrize(("first", "second"), [("completed", "failed"), ("failed", "completed")])
def test_a_second_and_different_final_outcome_is_409_and_changes_nothing(first, second) -> None:
    register()
    trust = tell(first)
    version = stored().version
    reply = send(second)
    assert (reply.status_code, reply.json()["code"]) == (409, "final_outcome_known")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert list(Feedback.objects.values_list("outcome", flat=True)) == [first]
    assert (stored().version, send(first).json()["trust_score"]) == (version, trust)


def test_each_miner_has_its_own_outcome_of_a_job() -> None:
    register("m1")
    register("m2")
    assert tell("failed", "m1") == 0.333333
    assert tell("completed", "m2") == 0.6


def test_an_unknown_miner_is_404() -> None:
    reply = send("completed", "nobody")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert not Feedback.objects.exists()


def test_the_outcomes_of_a_miner_that_went_count_too() -> None:
    register(region="eu")
    token = register("m2")
    Client().post("/v1/miners/logout", headers={"Authorization": f"Bearer {token}"})
    assert tell("completed", "m2") == 0.6
    assert view("m2").trust == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("sent", "field", "code"),
    [
        ({"job_id": None}, "job_id", "required"),
        ({"job_id": ""}, "job_id", "too_short"),
        ({"job_id": "x" * 129}, "job_id", "too_long"),
        ({"job_id": "\0"}, "job_id", "invalid_character"),
        ({"miner_id": None}, "miner_id", "required"),
        ({"miner_id": "a b"}, "miner_id", "invalid_format"),
        ({"miner_id": "a\n"}, "miner_id", "invalid_format"),
        ({"outcome": None}, "outcome", "required"),
        ({"outcome": "done"}, "outcome", "invalid_value"),
        ({"outcome": "Completed"}, "outcome", "invalid_value"),
        ({"outcome": 1}, "outcome", "invalid_type"),
        ({"latency_ms": -1}, "latency_ms", "out_of_range"),
        ({"latency_ms": 1e13}, "latency_ms", "out_of_range"),
        ({"latency_ms": True}, "latency_ms", "invalid_type"),
        ({"latency_ms": "5"}, "latency_ms", "invalid_type"),
        ({"fail_code": "x" * 65}, "fail_code", "too_long"),
        ({"fail_code": "\0"}, "fail_code", "invalid_character"),
        ({"fail_code": 5}, "fail_code", "invalid_type"),
        ({"tokens_spent": -0.1}, "tokens_spent", "out_of_range"),
        ({"tokens_spent": "1000000000000.00000001"}, "tokens_spent", "out_of_range"),
        ({"tokens_spent": True}, "tokens_spent", "invalid_type"),
        ({"tokens_spent": "Infinity"}, "tokens_spent", "invalid_format"),
        ({"tokens_spent": "1_000"}, "tokens_spent", "invalid_format"),
    ],
)
def test_what_is_out_of_bounds_is_422_and_changes_nothing(sent, field, code) -> None:
    register()
    body = {"job_id": "j1", "miner_id": "m1", "outcome": "completed", **sent}
    reply = Client().post(URL, body, content_type="application/json", headers=COORDINATOR)
    assert fields_of(reply) == {field: code}
    assert not Feedback.objects.exists()
    assert view().trust == 0.5


def test_unknown_fields_are_ignored() -> None:
    register()
    assert send("completed", note={"a": 1}).status_code == 201


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("0", "0"),
        ("0.00000001", "0.00000001"),
        ("999999999999.99999999", "999999999999.99999999"),
        ("1000000000000", "1000000000000"),
        ("1e3", "1000"),
        (0.1, "0.1"),
        (0.30000000000000004, "0.3"),
        (12345678.12345678, "12345678.12345678"),
        (10**12, "1000000000000"),
        ("0.000000005", "0"),  # the half goes to the even
        ("0.000000015", "0.00000002"),
    ],
)
def test_tokens_are_kept_as_exact_decimals_of_eight_places(sent, kept) -> None:
    register()
    tell("completed", tokens_spent=sent)
    assert Feedback.objects.get().tokens_spent == Decimal(kept)
    assert Feedback.objects.filter(tokens_spent=Decimal(kept)).exists()


def test_it_is_the_coordinators_route(settings) -> None:
    body = {"job_id": "j1", "miner_id": "m1", "outcome": "completed"}
    for headers in ({}, {"X-Coordinator-Secret": "wrong"}):
        reply = Client().post(URL, body, content_type="application/json", headers=headers)
        assert (reply.status_code, bool(reply.headers["WWW-Authenticate"])) == (401, True)
    settings.COORDINATOR_SHARED_SECRET = ()
    assert send("completed").status_code == 503


def test_it_reads_its_body_as_every_route_does() -> None:
    assert Client().post(URL, b"{", content_type="application/json", headers=COORDINATOR).status_code == 400
    assert Client().post(URL, b"{}", content_type="text/plain", headers=COORDINATOR).status_code == 415
    assert Client().get(URL, headers=COORDINATOR).status_code == 405
    register()
    body = {"job_id": "j1", "miner_id": "m1", "outcome": "completed"}
    assert Client().post(URL + "/", body, content_type="application/json", headers=COORDINATOR).status_code == 201


def test_what_is_new_is_counted_once() -> None:
    register()
    before = FEEDBACK.labels(outcome="rejected")._value.get()
    send("rejected")
    send("rejected")
    assert FEEDBACK.labels(outcome="rejected")._value.get() - before == 1
