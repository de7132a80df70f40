"""POST /v1/match/batch"""

import json
from http import HTTPStatus

import pytest

from tests.matching.builders import COORDINATOR, add, ask, fields_of, match, own, pool, report, reservations

URL = "/v1/match/batch"


def batch(client, *requests):
    reply = client.post(URL, {"requests": list(requests)}, content_type="application/json", headers=COORDINATOR)
    assert reply.status_code == 200, reply.content
    assert reply.json().keys() == {"results"}
    return reply.json()["results"]


@pytest.mark.parametrize("path", [URL, URL + "/"])
def test_each_is_answered_in_its_place(client, path) -> None:
    pool("a", "b")
    requests = [{"job_id": f"j{i}", "dry_run": True, "top_k": i % 2 + 1} for i in range(10)]
    reply = client.post(path, {"requests": requests}, content_type="application/json", headers=COORDINATOR)
    results = reply.json()["results"]
    assert [each["job_id"] for each in results] == [f"j{i}" for i in range(10)]
    assert results == [match(client, **each) for each in requests]


def test_a_bad_request_spoils_none_of_the_others(client) -> None:
    add()
    results = batch(client, {"job_id": "a"}, {"job_id": "b", "requirements": {"vram": 8}}, {}, 5, None, [],
                    {"job_id": "c", "top_k": 0}, {"job_id": "d"})  # fmt: skip
    assert [each.get("status", 200) for each in results] == [200, 422, 422, 422, 422, 422, 422, 200]
    assert [results[0]["job_id"], results[-1]["job_id"]] == ["a", "d"]
    assert [each["code"] for each in results[1:-1]] == [
        "unknown_field", "required", "invalid_type", "invalid_type", "invalid_type", "out_of_range",
    ]  # fmt: skip


def test_a_problem_is_the_whole_problem_object(client) -> None:
    reply = client.post(
        URL, {"requests": [{"job_id": "a", "top_k": 99}]}, content_type="application/json", headers=COORDINATOR
    )
    assert reply.json()["results"] == [
        {
            "type": "about:blank",
            "title": HTTPStatus(422).phrase,
            "status": 422,
            "detail": "top_k: Expected int <= 50",
            "code": "out_of_range",
            "errors": [{"field": "top_k", "code": "out_of_range", "detail": "Expected int <= 50"}],
            "request_id": reply.headers["X-Request-ID"],
        }
    ]


@pytest.mark.parametrize("item", [b'{"job_id":"a","top_k":1e400}', b'{"job_id":"\\u0000"}',
                                  b'{"job_id":"a","requirements":{"min_vram_gb":' + b"9" * 5000 + b"}}"])  # fmt: skip
def test_what_only_a_reader_of_the_item_notices_spoils_none_either(client, item) -> None:
    body = b'{"requests":[{"job_id":"x"},' + item + b',{"job_id":"y"}]}'
    reply = client.post(URL, body, content_type="application/json", headers=COORDINATOR)
    results = reply.json()["results"]
    assert (reply.status_code, results[0]["job_id"], results[2]["job_id"]) == (200, "x", "y")
    assert results[1]["status"] in (400, 422)


@pytest.mark.django_db
def test_reservations_are_made_one_after_another_and_never_overbook(client) -> None:
    add("m1", max_parallel=3)
    report("m1", queue_len=1)
    results = batch(client, *({"job_id": f"j{i}", "reserve": True} for i in range(5)))
    assert [("reservation" in each, each["eligible"]) for each in results] == [
        (True, 1), (True, 1), (False, 0), (False, 0), (False, 0),
    ]  # fmt: skip
    assert (len(reservations()), own()) == (2, 2)


@pytest.mark.django_db
def test_one_job_twice_in_a_batch_gets_one_reservation(client) -> None:
    add("m1", max_parallel=3)
    once, again = batch(client, {"job_id": "j", "reserve": True}, {"job_id": "j", "reserve": True})
    assert once["reservation"] == again["reservation"]
    assert own() == 1


def test_holds_spread_the_jobs_of_a_batch(client) -> None:
    pool("a", "b", max_parallel=1)
    results = batch(client, {"job_id": "x"}, {"job_id": "y"}, {"job_id": "z"})
    assert [[each["miner_id"] for each in result["candidates"]] for result in results] == [["a"], ["b"], []]


@pytest.mark.django_db
def test_a_refused_item_takes_no_slot(client) -> None:
    add("m1", max_parallel=1)
    _, taken = batch(client, {"job_id": "x", "reserve": True, "top_k": 99}, {"job_id": "y", "reserve": True})
    assert taken["reservation"]["miner_id"] == "m1"


def test_256_are_taken(client) -> None:
    pool("a")
    assert len(batch(client, *({"job_id": f"j{i}"} for i in range(256)))) == 256


@pytest.mark.parametrize(("requests", "code"), [([], "too_short"), ([{"job_id": "j"}] * 257, "too_long"),
                                                (None, "required"), ({}, "invalid_type"), ("j", "invalid_type")])  # fmt: skip
def test_from_1_to_256_are_asked_at_once(client, requests, code) -> None:
    reply = ask(client, URL, requests=requests)
    assert fields_of(reply) == {"requests": code}


@pytest.mark.parametrize("item", [b'{"job_id":}', b'{"job_id":"\\ud800"}', b'{"job_id":"\xff"}', b'{"job_id":NaN}'])
def test_what_is_no_json_as_a_whole_is_400(client, item) -> None:
    body = b'{"requests":[{"job_id":"x"},' + item + b"]}"
    assert client.post(URL, body, content_type="application/json", headers=COORDINATOR).status_code == 400


def test_nesting_is_counted_over_the_whole_body(client) -> None:
    deep = json.loads("[" * 14 + "]" * 14)
    assert ask(client, URL, requests=[{"job_id": "j", "x": [deep]}]).status_code == 422
    assert ask(client, URL, requests=[{"job_id": "j", "x": deep[0]}]).status_code == 200
