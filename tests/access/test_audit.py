"""The log of changes: who, when, what, from what to what, and why; and that nobody changes it."""

from decimal import Decimal

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group, User
from django.test import Client

from access.audit import Actor, Via, acting, plain
from access.audited import Audited
from access.models import Change
from miners.models import Miner, PriceOverride
from miners.services.operators import miner_create, miner_disable, miner_set_price_cap, price_override_create
from poolhub.common.admin import KeptAdmin, ReadOnlyAdmin
from poolhub.common.errors import NotFound
from tests.access.everything import one_of_each
from tests.miners.builders import ADMIN
from tests.operators import shows, staff, superuser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registry")]
MINERS, LOG = "/admin/miners/miner/", "/admin/access/change/"


@pytest.fixture
def miner(registry) -> Miner:
    made, _ = miner_create(miner_id="m1", profile={"region": "eu", "price": Decimal("0.50")})
    return made


@pytest.fixture
def root() -> Client:
    return superuser()


def act(client: Client, miner: Miner, action: str, **sent: str):
    sent = {"action": action, "_selected_action": str(miner.pk), "confirmed": "yes", **sent}
    return client.post(MINERS, sent, REMOTE_ADDR="203.0.113.7", headers={"X-Request-ID": "req-7"})


def last() -> Change:
    found = Change.objects.first()
    assert found is not None
    return found


# ---- what is in it


def test_an_action_is_logged_with_who_when_from_where_and_why(root, miner) -> None:
    act(root, miner, "disable", reason=" overheats ")
    change = last()
    assert (change.user_name, change.via, change.address) == ("root", "admin", "203.0.113.7")
    assert (change.request_id, change.reason) == ("req-7", "overheats")
    assert (change.action, change.model, change.object_pk, change.object_name) == (
        "disabled", "miners.miner", str(miner.pk), "m1",
    )  # fmt: skip
    assert (change.before, change.after) == ({"disabled": False}, {"disabled": True})


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("drain", {"operator_drain": False}, {"operator_drain": True}),
        ("end_session", {"logged_out": False}, {"logged_out": True}),
        ("issue_key", {"api_key": "one"}, {"api_key": "a new one"}),
        ("reregister", {}, {"name": "reregister", "args": {}}),
    ],
)
def test_each_action_tells_what_it_changed(root, miner, action, before, after) -> None:
    act(root, miner, action)
    told = [(each.before, each.after) for each in Change.objects.filter(via="admin")]
    assert (before, after) in told


def test_a_form_logs_only_what_it_changed(root, miner) -> None:
    page = f"{MINERS}{miner.pk}/change/"
    root.post(page, {"price_cap": "0.3", "tags": "", "reason": "campaign"})
    told = Change.objects.filter(via="admin", model="miners.miner")
    assert [(each.before, each.after, each.reason) for each in told] == [
        ({"price_cap": None}, {"price_cap": "0.3"}, "campaign")
    ]


def test_what_was_so_already_is_no_change(root, miner) -> None:
    act(root, miner, "enable")
    assert not Change.objects.filter(via="admin").exists()


def test_a_miner_that_is_added_or_removed_is_told_with_its_values(root, miner) -> None:
    assert last().action == "added"
    assert last().after == {"miner_id": "m1", "region": "eu", "price": "0.5"}
    act(root, miner, "delete_selected")
    assert (last().action, last().before["region"], last().after) == ("removed", "eu", {})


def test_an_override_is_told_on_its_own_page_and_on_its_miners(root, miner) -> None:
    act(root, miner, "set_price_override", price="0.25", reason="summer")
    override = PriceOverride.objects.get()
    for page in (f"{MINERS}{miner.pk}/history/", f"/admin/miners/priceoverride/{override.pk}/history/"):
        reply = root.get(page)
        assert all(shows(reply, text) for text in ("price override set", "0.25", "root", "summer"))


def test_no_secret_is_in_the_log(root, miner) -> None:
    keys = act(root, miner, "issue_key").context["keys"]
    kept = str(list(Change.objects.values()))
    assert keys[0][1] not in kept
    assert Miner.objects.get().api_key_hash not in kept


def test_what_failed_is_not_in_the_log() -> None:
    with pytest.raises(NotFound):
        miner_disable(miner_id="nobody")
    assert not Change.objects.exists()


def test_the_change_and_its_log_are_committed_together(miner, monkeypatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("miners.services.operators.change_record", broken)
    with pytest.raises(RuntimeError):
        miner_set_price_cap(miner_id="m1", price=Decimal(1))
    assert Miner.objects.get().price_cap is None


# ---- where it came from


def test_the_operators_route_is_logged_too(client, miner, settings) -> None:
    settings.ADMIN_SHARED_SECRET = (ADMIN["X-Admin-Secret"],)
    sent = {"name": "set_price_cap", "args": {"price": 0.3}}
    reply = client.post("/v1/miners/m1/commands", sent, content_type="application/json", headers=ADMIN)
    assert reply.status_code == 201
    cap = Change.objects.get(action="price cap set")
    assert (cap.via, cap.user_name, cap.user_pk) == ("API", "", None)
    assert (cap.before, cap.after) == ({"price_cap": None}, {"price_cap": "0.3"})
    assert Change.objects.get(action="command sent").of_pk == str(miner.pk)


def test_a_staff_session_on_that_route_is_named(miner) -> None:
    superuser().post("/v1/miners/m1/commands", {"name": "drain"}, content_type="application/json")
    assert {(each.via, each.user_name) for each in Change.objects.filter(request_id__gt="")} == {("API", "root")}


def test_what_comes_from_neither_is_the_command_lines(miner) -> None:
    with acting(Actor(reason="tidying up")):
        miner_disable(miner_id="m1")
    assert (last().via, last().user_name, last().reason) == ("command line", "", "tidying up")


def test_who_acts_is_forgotten_with_the_request(root, miner) -> None:
    act(root, miner, "disable")
    miner_set_price_cap(miner_id="m1", price=Decimal(1))
    assert last().via == "command line"


def test_actors_nest() -> None:
    with acting(Actor(Via.ADMIN, user_name="a")):
        with acting(Actor(Via.ADMIN, user_name="a", reason="b")):
            miner_create(miner_id="m1")
        assert (last().user_name, last().reason) == ("a", "b")
        miner_create(miner_id="m2")
        assert (last().user_name, last().reason) == ("a", "")


# ---- users and roles


def test_users_and_groups_are_logged_with_their_values_and_without_passwords(root) -> None:
    sent = {"username": "fresh", "password1": "a-long-password-1", "password2": "a-long-password-1"}
    root.post("/admin/auth/user/add/", {**sent, "usable_password": "true"})
    fresh, group = User.objects.get(username="fresh"), Group.objects.get(name="operator")
    assert (last().action, last().after["username"]) == ("added", "fresh")
    page = f"/admin/auth/user/{fresh.pk}/"
    root.post(f"{page}change/", {"username": "fresh", "is_active": "on", "is_staff": "on", "groups": [str(group.pk)]})
    assert (last().before["groups"], last().after["groups"]) == ([], ["operator"])
    assert (last().before["is_staff"], last().after["is_staff"]) == (False, True)
    root.post(f"{page}password/", {"password1": "another-long-one-2", "password2": "another-long-one-2"})
    assert (last().action, last().after) == ("changed", {"password": "a new one"})
    root.post(f"{page}delete/", {"post": "yes"})
    assert (last().action, last().before["username"]) == ("deleted", "fresh")
    kept = str(list(Change.objects.values()))
    assert not any(secret in kept for secret in ("a-long-password-1", "another-long-one-2", fresh.password, "md5$"))
    assert shows(root.get(LOG), "fresh")


# ---- the log itself


def test_every_page_that_can_change_something_is_audited() -> None:
    """A new page of the admin has to say how: by services (Audited), or by its form (AuditedForms)."""
    open_ones = [
        page
        for page in site._registry.values()
        if not isinstance(page, Audited) and (not isinstance(page, ReadOnlyAdmin | KeptAdmin) or page.actions)
    ]
    assert open_ones == []


@pytest.mark.parametrize("url", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_nobody_changes_the_log(root, miner, url) -> None:
    before = list(Change.objects.values())
    reply = root.post(LOG + url.format(pk=last().pk), {"action": "x", "post": "yes", "reason": "x"})
    assert reply.status_code == 403
    root.post(LOG, {"action": "delete_selected", "_selected_action": last().pk, "post": "yes"})
    assert list(Change.objects.values()) == before


def test_removing_the_user_or_the_miner_leaves_the_log_as_it_was(root, miner) -> None:
    act(root, miner, "disable")
    before = list(Change.objects.values())
    User.objects.all().delete()
    Miner.objects.all().delete()
    assert list(Change.objects.values()) == before


def test_the_log_is_read_with_the_permission_to_view_it(miner) -> None:
    assert staff("miners.view_miner", name="a").get(LOG).status_code == 403
    assert shows(staff("access.view_change", name="b").get(LOG), "m1")


def test_the_history_of_an_object_takes_the_permission_to_view_the_object(miner) -> None:
    page = f"{MINERS}{miner.pk}/history/"
    assert staff("auth.view_user", name="a").get(page).status_code == 403
    assert shows(staff("miners.view_miner", name="b").get(page), "added")


def test_hostile_text_is_escaped_and_shows_what_it_hides(root, miner) -> None:
    attack = "<script>alert(1)</script>\u202e\x00"
    act(root, miner, "disable", reason=attack)
    for url in (LOG, f"{LOG}{last().pk}/change/", f"{MINERS}{miner.pk}/history/"):
        page = root.get(url).content.decode()
        assert "<script>alert(1)" not in page
        assert "\u202e" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\u0000" in page


def test_the_log_and_each_history_answer(root) -> None:
    one_of_each()
    assert root.get(LOG).status_code == 200
    assert root.get(LOG, {"q": "m1"}).status_code == 200
    for change in Change.objects.all():
        assert root.get(f"{LOG}{change.pk}/change/").status_code == 200


def test_the_list_asks_no_more_the_longer_it_is(root, miner, django_assert_max_num_queries) -> None:
    for i in range(30):
        price_override_create(miner_id="m1", price=Decimal(i))
    with django_assert_max_num_queries(6):
        root.get(LOG)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (Decimal("1.50000000"), "1.5"), (Decimal("1E+3"), "1000"), (("a", Decimal(1)), ["a", "1"]), (None, None),
        ({"x": {"y": Decimal("0.1")}}, {"x": {"y": "0.1"}}), (object, "<class 'object'>"), (True, True),
    ],
)  # fmt: skip
def test_values_are_kept_as_people_read_them(value, want) -> None:
    assert plain(value) == want
