"""Events: written with the feedback that they settle, once, and exact."""

import json
import threading
import uuid
from decimal import Decimal

import jsonschema
import pytest
from django.db import connection

from feedback import receivers
from feedback.models import Feedback
from matching.models import MatchRecord
from matching.records import records
from miners.models import Miner
from miners.services.operators import miner_remove, miner_set_price_cap, price_override_create
from poolhub.common import clock
from settlement.models import SettlementEvent
from settlement.payload import amount_text
from tests.feedback.builders import send
from tests.hub import ROOT
from tests.settlement.builders import complete, completed, data, event, matched, miner

pytestmark = pytest.mark.django_db(transaction=True)
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "settlement-event.schema.json").read_text())


def check(body: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(json.loads(body))] == []


def test_a_completed_job_with_tokens_has_one_event_that_tells_all_of_it(fake_clock) -> None:
    miner(price_token_per_ksec=Decimal("0.75"))
    at = clock.to_rfc3339(fake_clock.now())
    granted = matched(reserve=True)["reservation"]["id"]
    fake_clock.advance(1)
    send("accepted")
    fake_clock.advance(9)
    made = completed(tokens="0.25")
    body = json.loads(made.body)
    assert body == {
        "type": "settlement.completed",
        "timestamp": clock.to_rfc3339(fake_clock.now()),
        "data": {
            "event_id": made.public_id,
            "job_id": "j1",
            "miner_id": "m1",
            "wallet_address": "wallet-of-m1",
            "tokens_spent": "0.25000000",
            "price": {"tokens_per_ksec": "0.75000000", "source": "own", "as_of": "match"},
            "outcome": "completed",
            "reservation_id": granted,
            "matched_at": at,
            "accepted_at": clock.to_rfc3339(fake_clock.now() - 9),
            "completed_at": clock.to_rfc3339(fake_clock.now()),
        },
    }
    check(made.body)


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "failed"])
def test_other_outcomes_have_none(outcome) -> None:
    miner()
    send(outcome, tokens_spent="1")
    assert not SettlementEvent.objects.exists()


def test_a_completed_job_without_tokens_has_none() -> None:
    miner()
    send("completed")
    assert not SettlementEvent.objects.exists()


def test_a_repeat_and_a_second_outcome_write_no_second_event() -> None:
    miner()
    made = completed()
    assert complete(tokens="0.5").json()["duplicate"]
    assert send("failed").status_code == 409
    assert list(SettlementEvent.objects.values_list("pk", flat=True)) == [made.pk]


def test_two_tellers_of_one_job_write_one_event() -> None:
    miner()
    barrier = threading.Barrier(4)

    def tell() -> None:
        barrier.wait()
        complete()
        connection.close()

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert SettlementEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (0, "0.00000000"),
        ("1000000000000", "1000000000000.00000000"),
        ("999999999999.99999999", "999999999999.99999999"),
        ("0.00000001", "0.00000001"),
        ("0.000000005", "0.00000000"),  # the half goes to the even
        ("0.000000015", "0.00000002"),
        (0.1, "0.10000000"),
    ],
)
def test_amounts_are_exact_to_eight_places(given, kept) -> None:
    miner()
    made = completed(tokens=given)
    assert data()["tokens_spent"] == kept
    assert amount_text(made.tokens_spent) == kept
    check(made.body)


@pytest.mark.parametrize("price", ["0.1", "123456789.12345678", "1000000000", "0"])
def test_the_price_is_exact(price) -> None:
    miner(price_token_per_ksec=Decimal(price))
    matched()
    completed()
    assert Decimal(data()["price"]["tokens_per_ksec"]) == Decimal(price)


@pytest.mark.parametrize("stored", [True, False])
def test_the_price_is_the_one_of_the_match_whatever_came_since(stored) -> None:
    miner(price_token_per_ksec=Decimal("0.75"))
    matched()
    if stored:
        records.flush()
    miner(price_token_per_ksec=Decimal(9))
    completed()
    assert data()["price"] == {"tokens_per_ksec": "0.75000000", "source": "own", "as_of": "match"}


def test_the_price_says_whose_it_is() -> None:
    miner("m1", price_token_per_ksec=Decimal("0.75"))
    miner("m2", price_token_per_ksec=Decimal("0.75"))
    price_override_create(miner_id="m1", price=Decimal("0.5"))
    miner_set_price_cap(miner_id="m2", price=Decimal("0.3"))
    matched(top_k=2)
    completed(miner_id="m1")
    completed(miner_id="m2")
    prices = [
        (data(miner_id=each)["price"]["tokens_per_ksec"], data(miner_id=each)["price"]["source"])
        for each in ("m1", "m2")
    ]
    assert prices == [("0.50000000", "override"), ("0.30000000", "cap")]


def test_of_several_matches_the_last_before_the_acceptance_counts(fake_clock) -> None:
    for price in ("1", "2"):
        miner(price_token_per_ksec=Decimal(price))
        matched()
        records.flush()
        fake_clock.advance(1)
    send("accepted")
    fake_clock.advance(1)
    miner(price_token_per_ksec=Decimal(3))
    matched()
    completed()
    assert data()["price"]["tokens_per_ksec"] == "2.00000000"


def test_a_job_whose_match_is_not_in_the_history_says_so(settings) -> None:
    settings.MATCH_RECORD_SAMPLE = 0.0
    miner(price_token_per_ksec=Decimal("0.75"))
    matched()
    made = completed()
    assert data()["price"] == {"tokens_per_ksec": "0.75000000", "source": "own", "as_of": "feedback"}
    assert data()["matched_at"] is None
    check(made.body)


def test_records_from_before_there_were_quotes_are_passed_over() -> None:
    miner()
    MatchRecord.objects.create(job_id="j1", latency_ms=1, candidates=[{"miner_id": "m1", "price": 5}])
    completed()
    assert data()["price"]["as_of"] == "feedback"


@pytest.mark.parametrize("job_id", ["a b", "é\u2028😀", '"\\', "x" * 128])
def test_any_job_id_is_told_as_it_is(job_id) -> None:
    miner(wallet_address="")
    made = completed(job_id)
    assert data(job_id)["job_id"] == job_id
    check(made.body)


def test_an_event_outlives_its_miner_and_a_namesake_gets_no_second_one() -> None:
    miner()
    made = completed()
    miner_remove(miner_id="m1")
    miner()
    assert complete().status_code == 201
    assert event().pk == made.pk


def test_what_a_receiver_of_feedback_raises_undoes_the_feedback() -> None:
    miner()
    receivers.receive("broken", lambda new: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            complete()
    finally:
        del receivers._receivers["broken"]
    assert not Feedback.objects.exists()
    assert not SettlementEvent.objects.exists()
    assert Miner.objects.get().trust_s == 0


def test_the_reservation_of_another_miner_is_not_this_one_s() -> None:
    miner("m1")
    miner("m2")
    granted = matched(reserve=True)["reservation"]
    other = "m2" if granted["miner_id"] == "m1" else "m1"
    completed(miner_id=other)
    assert data(miner_id=other)["reservation_id"] is None
    completed("j1", granted["miner_id"])
    assert uuid.UUID(data(miner_id=granted["miner_id"])["reservation_id"]) == uuid.UUID(granted["id"])
