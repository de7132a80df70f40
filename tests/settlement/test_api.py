"""GET /v1/settlements."""

from decimal import Decimal
from typing import Any

import pytest

from tests.matching.builders import COORDINATOR, fields_of
from tests.settlement.builders import completed, deliver, matched, miner

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/settlements"


def page(client, **params: Any) -> Any:
    reply = client.get(URL, params, headers=COORDINATOR)
    assert reply.status_code == 200, reply.content
    return reply.json()


def jobs(client, **params: Any) -> list[str]:
    return [each["job_id"] for each in page(client, **params)["results"]]


def test_an_event_is_told_with_its_delivery(client, receiver, fake_clock) -> None:
    miner(price_token_per_ksec=Decimal("0.75"))
    matched()
    made = completed(tokens="123456789012.12345678")
    (pending,) = page(client)["results"]
    deliver()
    (done,) = page(client)["results"]
    at = "2027-01-15T08:00:00.000Z"
    assert done == {
        "id": made.public_id, "job_id": "j1", "miner_id": "m1", "wallet_address": "wallet-of-m1",
        "tokens_spent": "123456789012.12345678",
        "price": {"tokens_per_ksec": "0.75000000", "source": "own", "as_of": "match"},
        "reservation_id": None, "matched_at": at, "accepted_at": None, "completed_at": at, "state": "delivered",
        "attempts": 1, "last_error": "", "next_attempt_at": None, "delivered_at": at,
        "transaction": None,
    }  # fmt: skip
    assert (pending["state"], pending["attempts"], pending["next_attempt_at"]) == ("pending", 0, at)


def test_pages_follow_each_other_oldest_first_and_may_be_narrowed(client, receiver) -> None:
    for each in ("m1", "m2"):
        miner(each)
        for number in range(3):
            completed(f"{each}-{number}", each)
    assert jobs(client) == [f"{each}-{number}" for each in ("m1", "m2") for number in range(3)]
    assert jobs(client, miner_id="m2") == ["m2-0", "m2-1", "m2-2"]
    assert jobs(client, job_id="m1-1") == ["m1-1"]
    assert jobs(client, miner_id="nobody") == []
    first = page(client, miner_id="m1", limit=2)
    assert [each["job_id"] for each in first["results"]] == ["m1-0", "m1-1"]
    last = page(client, miner_id="m1", limit=2, cursor=first["next_cursor"])
    assert [each["job_id"] for each in last["results"]] == ["m1-2"]
    assert last["next_cursor"] is None
    deliver()
    assert jobs(client, state="pending") == []
    assert len(jobs(client, state="delivered", limit="")) == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "501"), ("limit", "x"), ("cursor", "x"), ("cursor", "9" * 30), ("cursor", "-1"),
     ("state", "gone"), ("miner_id", "a b"), ("miner_id", "a\x00"), ("job_id", "\x00"), ("job_id", "x" * 129)],
)  # fmt: skip
def test_a_bad_parameter_is_refused_by_name(client, name, value) -> None:
    assert fields_of(client.get(URL, {name: value}, headers=COORDINATOR)) == {name: "invalid_value"}


def test_it_is_for_coordinators_alone(client) -> None:
    assert client.get(URL).status_code == 401
    assert client.get(URL, headers={"X-Admin-Secret": "admin-secret-for-tests"}).status_code == 401
    assert client.post(URL, headers=COORDINATOR).status_code == 405
    assert client.get(f"{URL}/", headers=COORDINATOR).status_code == 200
