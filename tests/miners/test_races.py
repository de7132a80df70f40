"""Real races: N threads at once, and an exact count."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections as databases
from django.test import Client

from miners.models import Miner
from tests.miners.builders import body, post, register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = 8


def at_once(calls: list[Callable[[Client], object]]) -> list:
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[Client], object]) -> object:
        barrier.wait()
        try:
            return call(Client())
        finally:
            databases.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


@pytest.mark.parametrize("turn", range(3))
def test_the_first_key_wins_and_the_others_are_401(turn) -> None:
    bodies = [body(api_key=f"key-number-{i}-0123456789", addr=f"10.0.0.{i}:1") for i in range(AT_ONCE)]
    replies = at_once([lambda client, sent=sent: post(client, "/v1/miners/register", sent) for sent in bodies])
    assert Counter(reply.status_code for reply in replies) == {201: 1, 401: AT_ONCE - 1}
    winner = next(i for i, reply in enumerate(replies) if reply.status_code == 201)
    assert Miner.objects.get().addr == view().row.addr == f"10.0.0.{winner}:1"
    assert post(Client(), "/v1/miners/update", {}, token=replies[winner].json()["session_token"]).status_code == 200


def test_one_token_of_many_registrations_lives() -> None:
    replies = at_once([lambda client: post(client, "/v1/miners/register", body()) for _ in range(AT_ONCE)])
    assert Counter(reply.status_code for reply in replies) == {201: 1, 200: AT_ONCE - 1}
    tokens = [reply.json()["session_token"] for reply in replies]
    assert len(set(tokens)) == AT_ONCE
    alive = [post(Client(), "/v1/miners/update", {}, token=token).status_code for token in tokens]
    assert Counter(alive) == {200: 1, 401: AT_ONCE - 1}


def test_no_change_is_lost_between_the_miner_and_operators(admin) -> None:
    token = register()
    version = stored().version
    calls = [
        lambda client: post(client, "/v1/miners/update", {"tags": ["t"]}, token=token),
        lambda client: post(client, "/v1/miners/update", {"price_token_per_ksec": 0.5}, token=token),
        lambda client: post(client, "/v1/miners/update", {"capabilities": ["c"]}, token=token),
        lambda client: post(client, "/v1/miners/update", {"draining": True}, token=token),
        lambda client: post(admin, "/v1/miners/m1/commands", {"name": "drain"}),
        lambda client: post(admin, "/v1/miners/m1/commands", {"name": "set_price_cap", "args": {"price": 0.1}}),
    ]
    assert {reply.status_code for reply in at_once(calls)} == {200, 201}
    miner, row = stored(), view().row
    assert miner.version == row.version == version + len(calls)
    assert (row.tags, row.price, row.capabilities, row.draining) == (("t",), 50_000_000, ("c",), True)
    assert (row.operator_drain, row.price_cap) == (True, 10_000_000)
