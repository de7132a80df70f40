"""GET /v1/market/prices."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.market.builders import offer, sync, tell
from tests.matching.builders import fields_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("market")]
URL = "/v1/market/prices"


def keys(client, **params: str) -> list[tuple[str, str]]:
    return [(each["model"], each["region"]) for each in client.get(URL, params).json()["results"]]


def test_anyone_sees_the_market(client) -> None:
    tell(offer(price=1), offer(price=2), offer(price=4))
    told = client.get(URL)
    assert told.status_code == 200
    assert told.headers["Cache-Control"] == "public, max-age=60"
    assert told.json()["results"][1] == {
        "model": "4090", "region": "eu", "count": 3, "low": 1.0, "q1": 1.5, "median": 2.0, "q3": 3.0, "high": 4.0,
        "trend": None, "as_of": "2027-01-15T07:00:00.000Z", "stale": False,
    }  # fmt: skip


def test_an_answer_that_is_known_is_not_sent_again(client) -> None:
    tell(offer(price=1))
    tag = client.get(URL).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = client.get(URL, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert client.get(URL, headers={"If-None-Match": '"x"'}).status_code == 200
    tell(offer(price=2))
    assert client.get(URL, headers={"If-None-Match": tag}).status_code == 200


def test_it_is_answered_from_memory(client) -> None:
    tell(offer(price=1))
    with CaptureQueriesContext(connection) as captured:
        client.get(URL)
        client.get(URL, {"model": "4090"})
    assert len(captured) == 0


def test_it_is_narrowed_by_any_spelling_of_a_model_and_by_region(client) -> None:
    tell(offer("4090", region="EU"), offer("4090", region=""), offer("H100", region="eu"))
    assert keys(client, model="NVIDIA GeForce RTX 4090") == [("4090", ""), ("4090", "*"), ("4090", "eu")]
    assert keys(client, region="*") == [("4090", "*"), ("h100", "*")]
    assert keys(client, model="h100", region="EU") == [("h100", "eu")]
    assert keys(client, region="") == [("4090", "")]
    assert keys(client, model="nobody's") == []


def test_prices_of_a_broken_feed_are_stale(client, tmp_path) -> None:
    tell(offer(price=1))
    (tmp_path / "f.json").write_text("{")
    sync()
    assert {each["stale"] for each in client.get(URL).json()["results"]} == {True}


@pytest.mark.parametrize("name", ["model", "region"])
@pytest.mark.parametrize("value", ["x" * 257, "\x00"])
def test_a_bad_parameter_is_refused(client, name, value) -> None:
    assert fields_of(client.get(URL, {name: value})) == {name: "invalid_value"}
