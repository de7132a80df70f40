"""POST /v1/miners/heartbeat"""

import pytest

from miners import authentication
from miners.registry.records import State
from miners.services.operators import miner_disable, miner_issue_key, miner_remove
from tests.miners.builders import fields_of, key_of, post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/heartbeat"
SHARED = "one-key-for-all-0123456789"
AITBC = {
    "status": "active", "current_jobs": 2, "gpu_utilization": 40, "memory_used": 4096, "memory_total": 24576,
    "network_latency_ms": 12.5,
}  # fmt: skip


def live():
    return view().live


def test_it_does_what_an_update_does(client, time) -> None:
    token = register()
    time.advance(30)
    reply = post(client, URL, {"queue_len": 1, "tags": ["t"], "current_jobs": ["a", "b"]}, token=token)
    assert reply.status_code == 200
    assert reply.json()["lease_expires_at"] == "2027-01-15T08:01:30.000Z"
    assert (live().queue_len, live().jobs, stored().tags) == (1, 2, ["t"])


def test_the_body_of_the_aitbc_client_with_its_key(client) -> None:
    register(max_parallel=3)
    assert post(client, URL, AITBC, token=key_of("m1")).status_code == 200
    assert (live().queue_len, live().busy, live().latency_ms, live().mem_free_gb) == (2, False, 12.5, 20.0)
    post(client, URL, {**AITBC, "status": "paused", "current_jobs": 0}, token=key_of("m1"))
    assert (live().queue_len, live().busy, live().foreign) == (0, True, 1)
    post(client, URL, {**AITBC, "network_latency_ms": -1, "memory_total": 0, "memory_used": 0}, token=key_of("m1"))
    assert (live().latency_ms, live().mem_free_gb) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("current_jobs", -1), ("current_jobs", "x"), ("current_jobs", 1.5), ("memory_total", -1),
        ("memory_used", "much"), ("network_latency_ms", -2), ("network_latency_ms", -0.5), ("status", 5),
        ("queue_len", True), ("miner_id", "a b"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_422(client, name, value) -> None:
    reply = post(client, URL, {name: value}, token=register())
    assert {field.split("[")[0] for field in fields_of(reply)} == {name}
    assert live().queue_len == 0


def test_a_key_brings_an_offline_miner_back_but_not_its_token(client, time) -> None:
    token = register()
    time.advance(1000)
    assert view().state is State.OFFLINE
    assert post(client, URL, {}, token=key_of("m1")).status_code == 200
    assert view().state is State.ONLINE
    assert post(client, URL, {}, token=token).status_code == 401


def test_a_key_brings_a_miner_back_that_logged_out(client) -> None:
    token = register()
    post(client, "/v1/miners/logout", token=token)
    assert view().state is State.OFFLINE
    assert post(client, URL, {"queue_len": 1}, token=key_of("m1")).status_code == 200
    assert (view().state, live().queue_len, stored().logged_out) == (State.ONLINE, 1, False)


def test_a_key_leaves_a_live_session_alone(client) -> None:
    token = register()
    version = stored().version
    assert post(client, URL, {}, token=key_of("m1")).status_code == 200
    assert stored().version == version
    assert post(client, URL, {}, token=token).status_code == 200


@pytest.mark.parametrize("key", ["wrong-key-0123456789", "x", "é" * 20])
def test_a_key_that_nobody_has_is_401(client, key) -> None:
    register()
    reply = post(client, URL, {}, token=key.encode().decode("latin-1"))
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"]


def test_a_body_at_fault_is_told_only_to_those_who_may_send_one(client) -> None:
    register()
    for sent in ({"queue_len": "x"}, []):
        assert post(client, URL, sent, token="wrong-key-0123456789").status_code == 401
        assert post(client, URL, sent, token=key_of("m1")).status_code == 422


def test_without_a_credential_it_is_401(client) -> None:
    assert post(client, URL, {}).status_code == 401
    assert post(client, URL, {"queue_len": "x"}).status_code == 401


def test_a_key_shared_by_several_needs_the_miners_id(client, time) -> None:
    register("m1", key=SHARED)
    assert post(client, URL, {"queue_len": 1}, token=SHARED).status_code == 200
    register("m2", key=SHARED)
    register("m3")
    assert post(client, URL, {"queue_len": 2}, token=SHARED).status_code == 401
    assert post(client, URL, {"queue_len": 3, "miner_id": "m2"}, token=SHARED).status_code == 200
    assert post(client, f"{URL}?miner_id=m1", {"queue_len": 4}, token=SHARED).status_code == 200
    assert post(client, URL, {"queue_len": 5, "miner_id": "m3"}, token=SHARED).status_code == 401
    assert [view(name).live.queue_len for name in ("m1", "m2", "m3")] == [4, 3, 0]


def test_a_key_is_looked_up_once(client, django_assert_num_queries) -> None:
    register()
    post(client, URL, {}, token=key_of("m1"))
    with django_assert_num_queries(0):
        assert post(client, URL, {"queue_len": 3}, token=key_of("m1")).status_code == 200


def test_a_key_that_was_replaced_is_dead_at_once(client) -> None:
    register()
    post(client, URL, {}, token=key_of("m1"))
    new = miner_issue_key(miner_id="m1")
    assert post(client, URL, {}, token=key_of("m1")).status_code == 401
    assert post(client, URL, {}, token=new).status_code == 200


def test_the_key_of_a_removed_miner_is_dead_at_once(client) -> None:
    register()
    post(client, URL, {}, token=key_of("m1"))
    miner_remove(miner_id="m1")
    assert post(client, URL, {}, token=key_of("m1")).status_code == 401


def test_a_disabled_miners_key_is_403(client, time) -> None:
    register()
    miner_disable(miner_id="m1")
    for _ in range(2):
        reply = post(client, URL, {}, token=key_of("m1"))
        assert (reply.status_code, reply.json()["code"]) == (403, "disabled")
        time.advance(1000)


def test_a_key_of_a_miner_that_this_process_has_not_heard_of(client, registry) -> None:
    register()
    registry.remove("m1")
    assert post(client, URL, {"queue_len": 2}, token=key_of("m1")).status_code == 200
    assert live().queue_len == 2


def test_the_cache_of_keys_is_bounded(monkeypatch, time) -> None:
    monkeypatch.setattr(authentication, "MAX_OWNERS", 2)
    owners = authentication.KeyOwners()
    for name in ("m1", "m2", "m3"):
        register(name)
        assert owners.find(key_of(name), None, now=time.now()) == name
    assert len(owners._found) == 2


def test_a_cached_key_is_read_again_after_a_while(time, django_assert_num_queries) -> None:
    register()
    owners = authentication.KeyOwners()
    owners.find(key_of("m1"), None, now=time.now())
    with django_assert_num_queries(0):
        owners.find(key_of("m1"), None, now=time.now() + 299)
    with django_assert_num_queries(1):
        owners.find(key_of("m1"), None, now=time.now() + 301)
