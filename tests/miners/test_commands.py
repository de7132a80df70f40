"""POST /v1/miners/{miner_id}/commands"""

import uuid
from decimal import Decimal

import pytest

from miners.models import MinerCommand
from tests.miners.builders import fields_of, post, register, view

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/m1/commands"


def test_a_command_is_kept_and_answered(admin) -> None:
    register()
    reply = post(admin, URL, {"name": "set_price_cap", "args": {"price": 0.3}})
    assert reply.status_code == 201
    told = reply.json()
    kept = MinerCommand.objects.get()
    assert told == {"id": str(kept.id), "name": "set_price_cap", "args": {"price": 0.3}, "status": "pending"}
    assert (kept.miner.miner_id, kept.name, kept.args, kept.status) == (
        "m1",
        "set_price_cap",
        {"price": 0.3},
        "pending",
    )
    assert uuid.UUID(told["id"])


def test_drain_and_resume_hold_at_once(admin) -> None:
    register()
    assert post(admin, URL, {"name": "drain"}).json()["args"] == {}
    assert view().state == "draining"
    assert post(admin, URL + "/", {"name": "resume", "args": None}).status_code == 201
    assert view().state == "online"


def test_a_price_cap_holds_at_once_and_is_lifted_without_a_price(admin) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    for args, price in [({"price": 0.3}, 0.3), ({"price": "0.4"}, 0.4), ({"price": 2}, 0.9), ({"price": 0}, 0)]:
        assert post(admin, URL, {"name": "set_price_cap", "args": args}).status_code == 201
        assert view().price == round(price * 10**8)
    for args in ({"price": None}, {}, None):
        post(admin, URL, {"name": "set_price_cap", "args": {"price": 0.1}})
        assert post(admin, URL, {"name": "set_price_cap", "args": args}).json()["args"] == {}
        assert (view().price, view().row.price_cap) == (90_000_000, None)


def test_tags_are_replaced_at_once(admin) -> None:
    register(tags=["old"])
    reply = post(admin, URL, {"name": "update_tags", "args": {"tags": ["new", "gold", "new"]}})
    assert reply.json()["args"] == {"tags": ["new", "gold"]}
    assert view().row.tags == ("new", "gold")
    assert post(admin, URL, {"name": "update_tags", "args": {"tags": []}}).status_code == 201
    assert view().row.tags == ()


def test_reregister_has_no_effect_of_the_hubs_own(admin) -> None:
    register()
    before = view().row
    assert post(admin, URL, {"name": "reregister"}).status_code == 201
    assert view().row == before


def test_registering_again_does_not_undo_the_operators_word(admin) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    post(admin, URL, {"name": "drain"})
    post(admin, URL, {"name": "set_price_cap", "args": {"price": 0.3}})
    register(price_token_per_ksec=Decimal("0.9"))
    assert (view().state, view().price) == ("draining", 30_000_000)


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({}, "name"),
        ({"name": "dance"}, "name"),
        ({"name": None}, "name"),
        ({"name": "drain", "args": 5}, "args"),
        ({"name": "set_price_cap", "args": {"price": -1}}, "args.price"),
        ({"name": "set_price_cap", "args": {"price": "x"}}, "args.price"),
        ({"name": "set_price_cap", "args": {"price": True}}, "args.price"),
        ({"name": "set_price_cap", "args": {"price": 1e10}}, "args.price"),
        ({"name": "update_tags"}, "args.tags"),
        ({"name": "update_tags", "args": {"tags": None}}, "args.tags"),
        ({"name": "update_tags", "args": {"tags": 5}}, "args.tags"),
        ({"name": "update_tags", "args": {"tags": ["t" * 65]}}, "args.tags[0]"),
        ({"name": "update_tags", "args": {"tags": ["a", "\x1b"]}}, "args.tags[1]"),
    ],
)
def test_a_command_that_makes_no_sense_is_422_and_has_no_effect(admin, sent, named) -> None:
    register(tags=["old"])
    before = view().row
    assert fields_of(post(admin, URL, sent)) == {named}
    assert view().row == before
    assert not MinerCommand.objects.exists()


def test_an_unknown_miner_is_404(admin) -> None:
    assert post(admin, URL, {"name": "drain"}).status_code == 404


def test_without_the_admin_secret_it_is_401(client) -> None:
    token = register()
    for reply in (
        post(client, URL, {"name": "drain"}),
        post(client, URL, {"name": "drain"}, token=token),
        post(client, URL),
    ):
        assert reply.status_code == 401
    assert view().state == "online"


def test_another_method_is_405(admin) -> None:
    assert admin.get(URL).status_code == 405
