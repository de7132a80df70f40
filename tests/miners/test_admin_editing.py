"""/admin/miners/miner/: adding, changing and removing one."""

from decimal import Decimal

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from access.models import Change
from miners import connections
from miners.admin.miners import MinerAdmin
from miners.models import Miner, MinerCommand, MinerStatus, PriceOverride
from miners.registry.loader import miner_row
from miners.registry.records import State
from miners.services.operators import (
    miner_disable,
)
from miners.sessions import hash_api_key
from tests.miners.admin_pages import MINERS, everything, page
from tests.miners.builders import register, stored, view
from tests.operators import messages_of, superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    return superuser()


def edit(client: Client, miner_id: str = "m1", **fields: str) -> object:
    """Save the page as a browser does, with what it showed and these fields changed; a box is ticked with "on"."""
    form = client.get(page(miner_id)).context["adminform"].form
    sent = {}
    for field in form:
        shown = "" if field.value() is None else field.value()
        sent[field.html_initial_name] = str(shown)
        if shown is not False:
            sent[field.html_name] = "on" if shown is True else str(shown)
    sent = {name: value for name, value in {**sent, **fields}.items() if value is not None}
    return client.post(page(miner_id), sent, follow=True)


# ---- adding


def test_adding_a_miner_shows_its_key_once_and_keeps_it_nowhere(root, settings) -> None:
    settings.ENROLLMENT = "closed"
    reply = root.post(f"{MINERS}add/", {"miner_id": "m1", "price_cap": "0.3", "operator_drain": "on"})
    assert reply.status_code == 200
    ((name, key),) = reply.context["keys"]
    assert name == "m1"
    assert reply.content.decode().count(key) == 1
    assert messages_of(reply) == ["Copy this now: a key is shown this once."]
    assert "no-store" in reply.headers["Cache-Control"]
    assert stored().api_key_hash == hash_api_key(key)
    assert (view().state, view().row.operator_drain, view().row.price_cap) == (State.OFFLINE, True, 30_000_000)
    kept = [
        *Miner.objects.values(),
        *Change.objects.values(),
        *(session.get_decoded() for session in Session.objects.all()),
    ]
    assert key not in str(kept)
    assert not any(key in morsel.value for morsel in root.cookies.values())
    for url in (MINERS, page(), page(of="history")):
        assert key not in root.get(url).content.decode()
    register("m1", key=key)
    assert view().state is State.DRAINING


@pytest.mark.parametrize("miner_id", ["", "a b", "x" * 65, "é"])
def test_a_miner_with_such_an_id_is_refused_at_its_field(root, miner_id) -> None:
    reply = root.post(f"{MINERS}add/", {"miner_id": miner_id})
    assert reply.status_code == 200
    assert set(reply.context["adminform"].form.errors) == {"miner_id"}
    assert not Miner.objects.exists()
    assert not Change.objects.filter(via="admin").exists()


def test_a_miner_that_exists_keeps_its_key(root) -> None:
    register()
    before = Miner.objects.values().get()
    reply = root.post(f"{MINERS}add/", {"miner_id": "m1"})
    assert set(reply.context["adminform"].form.errors) == {"miner_id"}
    assert Miner.objects.values().get() == before


@pytest.mark.parametrize("cap", ["-1", "x", "NaN", "Infinity", "1000000001", "0.123456789"])
def test_no_cap_is_such_a_price(root, cap) -> None:
    register()
    for reply in (root.post(f"{MINERS}add/", {"miner_id": "m2", "price_cap": cap}), edit(root, price_cap=cap)):
        assert set(reply.context["adminform"].form.errors) == {"price_cap"}
    assert view().row.price_cap is None
    assert not Miner.objects.filter(miner_id="m2").exists()


# ---- changing


def test_what_an_operator_changes_holds_at_once(root) -> None:
    register(price_token_per_ksec=Decimal("0.9"), tags=["old"])
    edit(root, disabled="on")
    assert (view().state, stored().disabled) == (State.DISABLED, True)
    edit(root, disabled=None)
    assert view().state is State.ONLINE
    edit(root, operator_drain="on", price_cap="0.25", tags="gold\r\nnew\r\n\r\n")
    assert (view().state, view().price, view().row.tags) == (State.DRAINING, 25_000_000, ("gold", "new"))
    edit(root, operator_drain=None, price_cap="", tags="")
    assert (view().state, view().price, view().row.tags) == (State.ONLINE, 90_000_000, ())
    assert view().row == miner_row(stored())


def test_the_miner_is_told_of_what_was_decided(root) -> None:
    register()
    edit(root, operator_drain="on", price_cap="0.25", tags="gold")
    sent = {command.name: (command.args, command.author.username) for command in MinerCommand.objects.all()}
    assert sent == {
        "drain": ({}, "root"),
        "set_price_cap": ({"price": 0.25}, "root"),
        "update_tags": ({"tags": ["gold"]}, "root"),
    }


def test_every_change_raises_the_version(root) -> None:
    register()
    before = stored().version
    edit(root, operator_drain="on", disabled="on")
    assert stored().version == before + 2
    edit(root)
    assert stored().version == before + 2


def test_what_another_operator_changed_meanwhile_stays(root) -> None:
    register()
    form = {"initial-disabled": "False", "initial-operator_drain": "False", "initial-price_cap": "", "initial-tags": ""}
    miner_disable(miner_id="m1")
    root.post(page(), {**form, "price_cap": "0.5", "tags": ""})
    assert (stored().disabled, stored().price_cap) == (True, Decimal("0.5"))


def test_a_script_need_not_send_what_it_was_shown(root) -> None:
    register(tags=["t"])
    miner_disable(miner_id="m1")
    root.post(page(), {"price_cap": "0.5", "tags": "t"})
    assert (stored().disabled, stored().price_cap, stored().tags) == (False, Decimal("0.5"), ["t"])


@pytest.mark.parametrize("tags", ["t" * 65, "\n".join(f"t{i}" for i in range(65)), "a\x0bb", "a\u202e", "a\x00"])
def test_such_tags_are_refused_at_their_field(root, tags) -> None:
    register(tags=["old"])
    reply = edit(root, tags=tags)
    assert set(reply.context["adminform"].form.errors) == {"tags"}
    assert view().row.tags == ("old",)


def test_what_the_miner_claims_and_the_hub_keeps_is_not_changed_by_a_post(root) -> None:
    register(region="eu")
    before = Miner.objects.values().get()
    sent = {name: "7" for name in before if name not in ("disabled", "operator_drain", "price_cap", "tags")}
    root.post(page(), sent)
    assert Miner.objects.values().get() == before


def test_nothing_reaches_the_registry_or_the_sockets_before_the_commit(root) -> None:
    register()
    seen = []

    class Loop:
        def call_soon_threadsafe(self, ask, *args) -> None:
            seen.append((args, connection.in_atomic_block, view().state))

    class Socket:
        miner_id, session, loop = "m1", view().row.session, Loop()

        def end(self, code: int) -> None: ...

    socket = Socket()
    connections.add(socket)
    try:
        edit(root, disabled="on")
    finally:
        connections.discard(socket)
    assert seen == [((connections.DISABLED,), False, State.DISABLED)]


def test_a_change_whose_request_fails_has_no_effect(root, monkeypatch) -> None:
    register()
    before = view().row

    def fail(*args: object) -> None:
        assert Miner.objects.get().disabled
        raise RuntimeError

    monkeypatch.setattr(MinerAdmin, "log_change", fail)
    root.raise_request_exception = False
    assert root.post(page(), {"disabled": "on"}).status_code == 500
    assert view().row == before
    assert not stored().disabled


# ---- removing


def test_removing_a_miner_takes_everything_with_it(root, registry) -> None:
    everything()
    asked = root.get(page(of="delete"))
    assert dict(asked.context["model_count"]) == {
        "miners": 1,
        "miner statuses": 1,
        "price overrides": 1,
        "miner commands": 1,
    }
    assert len(registry) == 1
    root.post(page(of="delete"), {"post": "yes"})
    assert len(registry) == 0
    assert [model.objects.count() for model in (Miner, MinerStatus, PriceOverride, MinerCommand)] == [0, 0, 0, 0]
    assert [each.object_name for each in Change.objects.filter(action="removed")] == ["m1"]
