"""POST /v1/miners/update"""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from miners import views
from miners.models import Miner
from miners.services.operators import miner_disable, miner_enable, miner_set_operator_drain
from miners.throttle import TokenBuckets
from tests.miners.builders import body, fields_of, key_of, post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/update"


@pytest.fixture
def short_bursts(monkeypatch) -> None:
    """50 requests at once, and 10 a second."""
    monkeypatch.setattr(views, "callers", TokenBuckets(10.0, 50.0, size=9))


def test_the_answer_tells_the_lease(client, time) -> None:
    token = register()
    time.advance(10)
    reply = post(client, URL, {"queue_len": 0}, token=token)
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "online", "lease_ttl_sec": 60, "next_heartbeat_sec": 20,
        "lease_expires_at": "2027-01-15T08:01:10.000Z",
    }  # fmt: skip


def test_only_what_is_named_changes(client) -> None:
    token = register(max_parallel=4, tags=["a"], capabilities=["c"])
    sent = {"queue_len": 2, "avg_latency_ms": 100, "mem_free_gb": 5, "busy": True, "current_jobs": ["j1"], "temp_c": 70}
    post(client, URL, sent, token=token)
    post(client, URL, {"price_token_per_ksec": "0.12345678"}, token=token)
    post(client, URL, {"temp_c": 71}, token=token)
    found = view()
    live, row = found.live, found.row
    assert (live.queue_len, live.latency_ms, live.mem_free_gb, live.busy, live.jobs, live.temp_c) == (
        2,
        100,
        5,
        True,
        1,
        71,
    )
    assert (row.price, row.tags, row.capabilities) == (12_345_678, ("a",), ("c",))


def test_live_data_alone_touches_no_database(client) -> None:
    token = register()
    with CaptureQueriesContext(connection) as queries:
        assert post(client, URL, {"queue_len": 1, "busy": True, "temp_c": 50}, token=token).status_code == 200
    assert len(queries) == 0


def test_the_profile_is_committed_before_the_answer(client) -> None:
    token = register()
    version = stored().version
    sent = {"price_token_per_ksec": 0.5, "tags": {"k": "v"}, "capabilities": ["c"], "draining": True}
    assert post(client, URL, sent, token=token).json()["status"] == "draining"
    miner = stored()
    assert (float(miner.price), miner.tags, miner.capabilities, miner.draining) == (0.5, ["k=v"], ["c"], True)
    assert miner.version == version + 1 == view().row.version


def test_saying_the_same_again_writes_nothing(client) -> None:
    token = register(price_token_per_ksec=Decimal("0.5"), tags=["a"])
    version = stored().version
    assert post(client, URL, {"price_token_per_ksec": 0.5, "tags": ["a"]}, token=token).status_code == 200
    assert stored().version == version


def test_a_miners_own_drain_and_the_operators_are_two_things(client) -> None:
    token = register()
    miner_set_operator_drain(miner_id="m1", drain=True)
    post(client, URL, {"draining": True}, token=token)
    assert post(client, URL, {"draining": False}, token=token).json()["status"] == "draining"
    miner_set_operator_drain(miner_id="m1", drain=False)
    assert post(client, URL, {}, token=token).json()["status"] == "online"
    post(client, URL, {"draining": True}, token=token)
    miner_set_operator_drain(miner_id="m1", drain=True)
    miner_set_operator_drain(miner_id="m1", drain=False)
    assert view().state == "draining"


def test_a_refused_update_changes_nothing(client) -> None:
    token = register(tags=["a"])
    reply = post(client, URL, {"queue_len": 1, "tags": ["b"], "draining": True, "temp_c": "hot"}, token=token)
    assert fields_of(reply) == {"temp_c"}
    assert (view().live.queue_len, view().row.tags, view().row.draining) == (0, ("a",), False)
    assert fields_of(post(client, URL, {"queue_len": 1, "tags": ["\x07"]}, token=token)) == {"tags[0]"}
    assert view().live.queue_len == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue_len", -1), ("queue_len", 2**40), ("queue_len", "a"), ("queue_len", True), ("queue_len", 1.5),
        ("avg_latency_ms", -1), ("avg_latency_ms", 1e13), ("temp_c", 1e9), ("temp_c", -101), ("mem_free_gb", -1),
        ("mem_free_gb", 1e7), ("current_jobs", "x"), ("current_jobs", 3), ("current_jobs", [1]), ("busy", "perhaps"),
        ("price_token_per_ksec", -1), ("tags", 5), ("capabilities", "c"), ("draining", "x"), ("session_token", 5),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_422(client, name, value) -> None:
    reply = post(client, URL, {name: value}, token=register())
    assert {field.split("[")[0] for field in fields_of(reply)} == {name}


def test_null_is_left_out(client) -> None:
    token = register()
    post(client, URL, {"queue_len": 3}, token=token)
    names = ["queue_len", "busy", "current_jobs", "avg_latency_ms", "temp_c", "tags", "draining", "session_token"]
    assert post(client, URL, dict.fromkeys(names), token=token).status_code == 200
    assert view().live.queue_len == 3


def test_the_token_is_taken_from_query_and_body_too(client) -> None:
    token = register()
    assert post(client, f"{URL}?session_token={token}", {}).status_code == 200
    assert post(client, URL, {"session_token": token, "queue_len": 7}).status_code == 200
    assert view().live.queue_len == 7


@pytest.mark.parametrize("sent", [{}, {"session_token": "wrong"}, {"session_token": 5}, {"queue_len": "x"}, None, []])
def test_without_a_token_it_is_401_whatever_else_is_wrong(client, sent) -> None:
    reply = post(client, URL, sent)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"]


def test_without_a_token_broken_json_is_401(client) -> None:
    assert client.post(URL, b"{", content_type="application/json").status_code == 401
    assert (
        client.post(URL, b"{", content_type="application/json", headers={"Authorization": "Bearer x"}).status_code
        == 401
    )


def test_with_a_token_broken_json_is_400_and_text_415(client) -> None:
    headers = {"Authorization": f"Bearer {register()}"}
    assert client.post(URL, b"{", content_type="application/json", headers=headers).status_code == 400
    assert client.post(URL, b"{}", content_type="text/plain", headers=headers).status_code == 415


def test_an_api_key_is_no_token(client) -> None:
    register()
    assert post(client, URL, {}, token=body()["api_key"]).status_code == 401


def test_the_token_of_a_miner_past_its_grace_is_dead_and_stays_dead(client, time) -> None:
    token = register()
    time.advance(119)
    assert post(client, URL, {}, token=token).status_code == 200
    time.advance(121)
    assert post(client, URL, {}, token=token).status_code == 401
    assert post(client, "/v1/miners/heartbeat", {}, token=body()["api_key"]).status_code == 200
    assert view().state == "online"
    assert post(client, URL, {}, token=token).status_code == 401


def test_a_disabled_miner_is_refused_until_it_is_enabled(client) -> None:
    token = register()
    miner_disable(miner_id="m1")
    reply = post(client, URL, {"queue_len": 4}, token=token)
    assert (reply.status_code, reply.json()["code"]) == (403, "disabled")
    assert view().live.queue_len == 0
    miner_enable(miner_id="m1")
    assert post(client, URL, {"queue_len": 4}, token=token).status_code == 200


def test_a_token_that_another_process_issued_is_looked_up(client, registry) -> None:
    token = register()
    row = view().row
    registry.remove("m1")  # as if this process had not heard of it yet
    assert post(client, URL, {}, token=token).status_code == 200
    assert view().row == row


def test_a_session_that_ended_behind_this_process_changes_nothing(client) -> None:
    """Another process has logged the miner out, and this one has not heard of it: the database decides."""
    token = register(tags=["a"])
    Miner.objects.update(session=stored().session + 1)
    assert post(client, URL, {"tags": ["b"], "queue_len": 3}, token=token).status_code == 401
    assert (stored().tags, view().live.queue_len) == (["a"], 0)


def test_a_miner_that_hurries_is_429_and_nothing_of_it_is_taken_but_its_logout(client, time, short_bursts) -> None:
    token, other = register("m1"), register("m2")
    calls = [
        ("/v1/miners/update", {"tags": ["x"]}), ("/v1/miners/heartbeat", {"queue_len": 3}), ("/v1/miners/lease/renew", None)
    ]  # fmt: skip
    for number in range(50):
        assert post(client, *calls[number % 3], token=token).status_code == 200
    for path, sent in calls:
        reply = post(client, path, sent, token=token)
        assert (reply.status_code, reply.json()["code"], reply.headers["Retry-After"]) == (
            429,
            "too_many_requests",
            "1",
        )
    assert post(client, "/v1/miners/update", {"tags": ["y"]}, token=token).status_code == 429
    assert client.get("/v1/miners/standing", headers={"Authorization": f"Bearer {token}"}).status_code == 429
    assert stored("m1").tags == ["x"]
    assert post(client, "/v1/miners/update", {}, token=other).status_code == 200
    time.advance(0.15)
    assert [post(client, "/v1/miners/update", {}, token=token).status_code for _ in range(2)] == [200, 429]
    assert post(client, "/v1/miners/logout", token=token).status_code == 204


def test_heartbeats_with_a_key_are_slowed_down_alike(client, time, short_bursts) -> None:
    register("m1")
    sent = [post(client, "/v1/miners/heartbeat", {"queue_len": 0}, token=key_of("m1")).status_code for _ in range(52)]
    assert sent == [200] * 51 + [429]  # the first was looked up in the database, and is not counted
