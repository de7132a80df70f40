"""/admin/miners/: what operators do to the miners that they choose."""

from decimal import Decimal

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from access.models import Change
from miners.admin import acting
from miners.models import Miner, MinerCommand, PriceOverride
from miners.registry import runtime
from miners.registry.loader import miner_row
from miners.registry.records import State
from miners.services.operators import miner_create, miner_disable, miner_remove, price_override_create
from miners.sessions import hash_api_key
from tests.miners.admin_pages import MINERS, do, page
from tests.miners.builders import post, register, stored, view
from tests.operators import messages_of, shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    return superuser()


def state(miner_id: str = "m1") -> State:
    return view(miner_id).state


# ---- enable, disable, drain, resume, reregister


def test_disable_asks_first_and_says_how_many(root) -> None:
    register("m1")
    register("m2")
    asked = do(root, "disable", "m1", "m2")
    assert shows(asked, "Disable: 2 miners.")
    assert (state("m1"), state("m2")) == (State.ONLINE, State.ONLINE)
    done = do(root, "disable", "m1", "m2", confirmed="yes")
    assert messages_of(done) == ["2 miners disabled."]
    assert (state("m1"), state("m2")) == (State.DISABLED, State.DISABLED)


def test_what_the_asking_page_holds_does_what_it_says(root) -> None:
    """The form of the page, sent as it is."""
    for name in ("m1", "m2", "m3"):
        register(name)
    sent = {"action": "disable", "_selected_action": [stored("m1").pk, stored("m3").pk]}
    asked = root.post(f"{MINERS}?region=&q=m", sent)
    form = {name: asked.context[name] for name in ("action", "filters", "page")}
    done = root.post(
        asked.context["list_url"],
        {
            "action": form["action"],
            "_selected_action": [miner.pk for miner in asked.context["miners"]],
            "_filters": form["filters"],
            "_page": form["page"],
            "confirmed": "yes",
        },
    )
    assert done.headers["Location"] == f"{MINERS}?region=&q=m"
    assert [state(name) for name in ("m1", "m2", "m3")] == [State.DISABLED, State.ONLINE, State.DISABLED]


def test_enable_drain_and_resume_hold_at_once(root) -> None:
    register()
    miner_disable(miner_id="m1")
    for action, want in [
        ("enable", State.ONLINE),
        ("drain", State.DRAINING),
        ("resume", State.ONLINE),
        ("reregister", State.ONLINE),
    ]:
        assert len(messages_of(do(root, action, "m1"))) == 1
        assert state() is want
    assert view().row == miner_row(stored())
    sent = MinerCommand.objects.order_by("created_at").values_list("name", "author__username")
    assert list(sent) == [("drain", "root"), ("resume", "root"), ("reregister", "root")]


def test_every_act_is_in_the_log_of_the_miner(root) -> None:
    register("m1")
    register("m2")
    do(root, "drain", "m1", "m2")
    do(root, "disable", "m1", confirmed="yes")
    told = Change.objects.filter(model="miners.miner").order_by("id").values_list("object_name", "action", "user_name")
    assert list(told) == [("m1", "drained", "root"), ("m2", "drained", "root"), ("m1", "disabled", "root")]


def test_the_page_of_a_miner_offers_the_same_and_comes_back_to_it(root) -> None:
    register()
    offered = dict(root.get(page()).context["page_actions"])
    assert offered == {
        "enable": "Enable", "disable": "Disable", "drain": "Drain", "resume": "Resume",
        "reregister": "Ask to register again", "end_session": "End the session", "issue_key": "Issue a key",
        "set_price_override": "Set a price override",
    }  # fmt: skip
    pk = stored().pk
    done = root.post(MINERS, {"action": "drain", "_selected_action": pk, "_page": pk})
    assert done.headers["Location"] == page()
    assert state() is State.DRAINING
    gone = root.post(MINERS, {"action": "delete_selected", "_selected_action": pk, "_page": pk, "confirmed": "yes"})
    assert gone.headers["Location"] == MINERS


def test_too_many_at_once_are_refused_whole(root, monkeypatch) -> None:
    monkeypatch.setattr(acting, "MAX_ACTED", 2)
    names = ("m1", "m2", "m3")
    for name in names:
        register(name)
    for sent in ({}, {"confirmed": "yes"}):
        assert messages_of(do(root, "disable", *names, **sent)) == ["At most 2 miners at once; nothing was done."]
    do(root, "drain", *names, select_across="1")
    assert {state(name) for name in names} == {State.ONLINE}
    do(root, "drain", "m1", "m2")
    assert [state(name) for name in names] == [State.DRAINING, State.DRAINING, State.ONLINE]


def test_what_is_refused_for_one_miner_stops_no_other(root, monkeypatch) -> None:
    """m2 goes while the action is at m1."""
    for name in ("m1", "m2", "m3"):
        register(name)
    before = miner_disable

    def disable(*, miner_id: str) -> None:
        before(miner_id=miner_id)
        if miner_id == "m1":
            miner_remove(miner_id="m2")

    monkeypatch.setattr("miners.admin.actions.miner_disable", disable)
    done = do(root, "disable", "m1", "m2", "m3", confirmed="yes")
    assert messages_of(done) == ["2 miners disabled.", "m2: no miner m2"]
    assert (state("m1"), state("m3")) == (State.DISABLED, State.DISABLED)
    assert list(Change.objects.filter(action="disabled").values_list("object_name", flat=True).order_by("id")) == [
        "m1",
        "m3",
    ]


def test_the_question_says_what_hangs_on_the_miners(root) -> None:
    for name in ("m1", "m2", "m3"):
        register(name)
    runtime.get_registry().add_own("m1", 1)
    miner_disable(miner_id="m3")
    asked = do(root, "disable", "m1", "m2", "m3")
    assert shows(asked, "2 of them are in contact with the hub, which has placed 1 jobs on them.")


@pytest.mark.parametrize("action", ["disable", "end_session", "issue_key", "delete_selected"])
def test_what_does_harm_asks_first_and_does_nothing_until_it_is_told_to(root, action) -> None:
    register()
    before = Miner.objects.values().get()
    asked = do(root, action, "m1")
    assert shows(asked, f"{asked.context['title']}: 1 miner.")
    assert Miner.objects.values().get() == before


# ---- sessions


def test_ending_a_session_ends_its_token_and_leaves_the_key(root) -> None:
    token = register()
    done = do(root, "end_session", "m1", confirmed="yes")
    assert messages_of(done) == ["1 miner logged out."]
    assert state() is State.OFFLINE
    assert heartbeat(token) == 401
    assert heartbeat(register()) == 200
    assert state() is State.ONLINE


def heartbeat(token: str) -> int:
    return post(Client(), "/v1/miners/heartbeat", {"queue_len": 0}, token=token).status_code


# ---- keys


def test_issued_keys_are_shown_once_and_kept_nowhere(root) -> None:
    register("m1")
    register("m2")
    asked = do(root, "issue_key", "m1", "m2")
    assert shows(asked, "Issue a key: 2 miners.")
    assert state() is State.ONLINE
    done = do(root, "issue_key", "m1", "m2", confirmed="yes")
    keys = dict(done.context["keys"])
    assert {name: hash_api_key(key) for name, key in keys.items()} == {
        name: stored(name).api_key_hash for name in ("m1", "m2")
    }
    assert messages_of(done) == ["2 miners given a new key.", "Copy this now: a key is shown this once."]
    assert "no-store" in done.headers["Cache-Control"]
    sessions = [session.get_decoded() for session in Session.objects.all()]
    kept = str([*Miner.objects.values(), *Change.objects.values(), *sessions, *root.cookies.values()])
    for key in keys.values():
        assert done.content.decode().count(key) == 1
        assert key not in kept
        assert key not in root.get(MINERS).content.decode()
    assert (state("m1"), state("m2")) == (State.OFFLINE, State.OFFLINE)
    register("m1", key=keys["m1"])
    assert state() is State.ONLINE


# ---- removing


def test_miners_are_removed_with_what_hangs_on_them(root, registry) -> None:
    for name in ("m1", "m2", "m3"):
        register(name)
    price_override_create(miner_id="m1", price=Decimal(1))
    assert shows(do(root, "delete_selected", "m1", "m2"), "Remove: 2 miners.")
    assert len(registry) == 3
    done = do(root, "delete_selected", "m1", "m2", confirmed="yes")
    assert messages_of(done) == ["2 miners removed."]
    assert list(registry.slots) == ["m3"]
    assert not PriceOverride.objects.exists()
    assert list(Change.objects.filter(action="removed").values_list("object_name", flat=True).order_by("id")) == [
        "m1",
        "m2",
    ]


# ---- who may


ALL = (
    "enable", "disable", "drain", "resume", "reregister", "end_session", "issue_key", "set_price_override",
    "delete_selected",
)  # fmt: skip


@pytest.mark.parametrize(
    ("permissions", "offered"),
    [
        ((), set()),
        (("miners.add_miner",), set()),
        (("miners.change_miner",), {"enable", "disable", "drain", "resume", "end_session", "issue_key"}),
        (("miners.add_priceoverride",), {"set_price_override"}),
        (("miners.add_minercommand",), {"reregister"}),
        (("miners.delete_miner",), {"delete_selected"}),
    ],
)
def test_actions_take_their_permissions(permissions, offered) -> None:
    register()
    client = staff("miners.view_miner", *permissions)
    form = client.get(MINERS).context["action_form"]
    assert (set() if form is None else {name for name, _ in form.fields["action"].choices if name}) == offered
    before = stored().version, stored().api_key_hash
    for action in set(ALL) - offered:
        for sent in ({}, {"confirmed": "yes", "price": "1"}):
            reply = do(client, action, "m1", **sent)
            assert "keys" not in (reply.context or {})
            assert "question" not in (reply.context or {})
    assert (stored().version, stored().api_key_hash) == before
    assert not MinerCommand.objects.exists()
    assert not Change.objects.filter(via="admin").exists()


def test_a_post_from_another_site_is_refused() -> None:
    miner_create(miner_id="m1")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = superuser().cookies
    assert do(strict, "disable", "m1", confirmed="yes").status_code == 403
    assert not stored().disabled
