"""GET and POST /v1/miners/lease/renew, POST /v1/miners/logout"""

import pytest

from miners.registry.records import State
from tests.miners.builders import key_of, post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
RENEW, LOGOUT = "/v1/miners/lease/renew", "/v1/miners/logout"


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_renew_answers_as_update_does(client, time, method, slash) -> None:
    token = register()
    time.advance(70)
    assert view().state is State.DEGRADED
    reply = getattr(client, method)(RENEW + slash, headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "online", "lease_ttl_sec": 60, "next_heartbeat_sec": 20,
        "lease_expires_at": "2027-01-15T08:02:10.000Z",
    }  # fmt: skip


def test_renew_takes_the_token_from_query_and_body_too(client) -> None:
    token = register()
    assert client.get(RENEW, {"session_token": token}).status_code == 200
    assert post(client, RENEW, {"session_token": token}).status_code == 200


@pytest.mark.parametrize("path", [RENEW, LOGOUT])
def test_without_a_token_it_is_401(client, path) -> None:
    for reply in (post(client, path), post(client, path, {}), post(client, path, token="wrong")):
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"]
    register()
    assert post(client, path, token=key_of("m1")).status_code == 401


def test_logout_takes_the_miner_out_and_ends_its_token(client, time) -> None:
    token = register()
    reply = post(client, LOGOUT, token=token)
    assert (reply.status_code, reply.content) == (204, b"")
    assert (view().state, stored().logged_out) == (State.OFFLINE, True)
    for path in (LOGOUT, RENEW, "/v1/miners/update"):
        assert post(client, path, {}, token=token).status_code == 401


def test_registering_again_brings_a_miner_back_that_logged_out(client) -> None:
    post(client, LOGOUT, token=register())
    register()
    assert (view().state, stored().logged_out) == (State.ONLINE, False)


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", LOGOUT), ("delete", RENEW), ("get", "/v1/miners/register"), ("get", "/v1/miners/update")],
)
def test_another_method_is_405(client, method, path) -> None:
    reply = getattr(client, method)(path)
    assert reply.status_code == 405
    assert reply.headers["Content-Type"].startswith("application/problem+json")
