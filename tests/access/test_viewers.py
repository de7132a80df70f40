"""A viewer changes nothing: every route and every action of the admin and of the API, those to come included.

Routes and actions are taken from the admin site and the URL configuration as they are.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from access.roles import Role
from miners.models import PriceOverride
from miners.services.operators import miner_disable
from tests.access.everything import an_object, database, one_of_each
from tests.operators import logged_in, superuser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registry"), pytest.mark.once]

PART = re.compile(r"<(?:\w+:)?(\w+)>")
# what a form or an action could ask for; a name that is not asked for is ignored
BODY = {
    "post": "yes", "confirmed": "yes", "_save": "Save", "select_across": "0", "reason": "why not",
    "disabled": "on", "operator_drain": "on", "price": "9", "price_cap": "9", "tags": "x", "name": "other",
    "username": "other", "is_active": "on", "is_staff": "on", "is_superuser": "on", "outcome": "failed",
    "password1": "a-long-password-1", "password2": "a-long-password-1", "usable_password": "true", "format": "0",
}  # fmt: skip


@pytest.fixture(autouse=True)
def filled(registry: object) -> None:
    one_of_each()


def member_of(role: Role) -> Client:
    user = User.objects.create_user(f"a {role.value}", is_staff=True)
    user.groups.add(Group.objects.get(name=role.value))
    return logged_in(user)


def chosen(model: type[Model], action: str) -> dict[str, Any]:
    """As the list sends it."""
    sent = {name: value for name, value in BODY.items() if name != "_save"}
    seen = ",".join(map(str, PriceOverride.objects.values_list("pk", flat=True)))  # else the page would ask first
    return {**sent, "action": action, "_selected_action": an_object(model).pk, "seen": seen}


# ---- what there is


def routes() -> Iterator[Any]:
    """(model or None, route): of every page of the admin."""
    own = [each for each in site.get_urls() if isinstance(each, URLPattern)]
    yield from (pytest.param(None, str(each.pattern), id=f"site {each.pattern}") for each in own)
    for model, page in site._registry.items():
        label = model._meta.label_lower
        for each in page.urls:
            yield pytest.param(model, str(each.pattern), id=f"{label} {each.pattern}")


def actions() -> Iterator[Any]:
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True)
    for model, page in site._registry.items():
        for name in page.get_actions(request):
            yield pytest.param(model, name, id=f"{model._meta.label_lower} {name}")


def api_routes(patterns: list[Any] | None = None, before: str = "") -> Iterator[Any]:
    """(path, method) of every route of the API that is not for reading."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        here = before + str(each.pattern)
        if isinstance(each, URLResolver):
            if not here.startswith("admin/"):
                yield from api_routes(each.url_patterns, here)
        else:
            methods = set(getattr(each.callback, "actions", {})) - {"get", "head"}
            yield from (pytest.param(here, method, id=f"{method} {here}") for method in sorted(methods))


def path_of(model: type[Model] | None, route: str) -> str:
    if model is None:
        return "/admin/" + PART.sub("1", re.sub(r"\^?\(\?P<\w+>.*\)\$", "miners/", route))
    filled_in = PART.sub(lambda found: str(an_object(model).pk), route)
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{filled_in}"


# ---- nothing changes


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("model", "route"), list(routes()))
def test_no_route_of_the_admin_changes_anything_for_a_viewer(model, route, method) -> None:
    client, before, path = member_of(Role.VIEWER), database(), path_of(model, route)
    reply = getattr(client, method)(path, BODY)
    assert reply.status_code < 500
    assert database() == before
    if method == "post" and route.endswith(("add/", "/change/", "/delete/", "password/")):
        assert reply.status_code == 403


@pytest.mark.parametrize(("model", "action"), list(actions()))
def test_no_action_of_the_admin_is_a_viewers(model, action) -> None:
    client, before = member_of(Role.VIEWER), database()
    client.post(path_of(model, ""), chosen(model, action))
    assert database() == before


@pytest.mark.parametrize(("model", "action"), list(actions()))
def test_every_action_does_something_for_a_superuser(model, action) -> None:
    """Or the test above would prove nothing."""
    client = superuser()
    if action == "enable":
        miner_disable(miner_id="m1")
    before = database()
    client.post(path_of(model, ""), chosen(model, action))
    assert database() != before


@pytest.mark.parametrize("route", ["<path:object_id>/change/", "<path:object_id>/delete/", "add/"])
def test_the_body_does_change_a_miner_for_a_superuser(route) -> None:
    """Likewise."""
    from miners.models import Miner

    client, before = superuser(), database()
    client.post(path_of(Miner, route), {**BODY, "miner_id": "m2"})
    assert database() != before


@pytest.mark.parametrize(("route", "method"), list(api_routes()))
def test_no_route_of_the_api_takes_a_viewers_session(route, method) -> None:
    client, before = member_of(Role.VIEWER), database()
    path = "/" + re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "m1", route).replace("^", "").replace(r"/?\Z", "")
    body = {"name": "drain", "job_id": "j", "miner_id": "m1", "outcome": "completed", "requirements": {}}
    reply = getattr(client, method)(path, body, content_type="application/json")
    assert reply.status_code in (401, 403, 422), reply.content  # 422: a miner's own registration without its key
    assert database() == before


def test_there_are_routes_of_each_kind() -> None:
    assert len(list(routes())) > 40
    assert len(list(actions())) > 8
    assert len(list(api_routes())) > 8


# ---- what a viewer does see


def test_a_viewer_sees_every_list_of_the_pool_and_is_offered_nothing_to_press() -> None:
    client = member_of(Role.VIEWER)
    for model in site._registry:
        reply = client.get(path_of(model, ""))
        seen = User.objects.get(username="a viewer").has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")
        assert reply.status_code == (200 if seen else 403)
        if seen:
            page = client.get(path_of(model, "<path:object_id>/change/"))
            assert page.status_code == 200
            assert page.context["page_actions"] == []
            assert not page.context["has_change_permission"]


# ---- operators and administrators


def test_an_operator_acts_on_a_miner_and_cannot_remove_it() -> None:
    from miners.models import Miner

    client = member_of(Role.OPERATOR)
    client.post(path_of(Miner, ""), chosen(Miner, "disable"))
    assert Miner.objects.get().disabled
    client.post(path_of(Miner, ""), chosen(Miner, "delete_selected"))
    assert client.post(path_of(Miner, "<path:object_id>/delete/"), BODY).status_code == 403
    assert Miner.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_users_and_roles_are_administrators_business(role) -> None:
    client = member_of(role)
    for model in (User, Group):
        assert client.get(path_of(model, "")).status_code == 403


def test_an_administrator_makes_users_but_no_superusers() -> None:
    client = member_of(Role.ADMINISTRATOR)
    sent = {"username": "fresh", "password1": "a-long-password-1", "password2": "a-long-password-1"}
    client.post("/admin/auth/user/add/", {**sent, "usable_password": "true", "is_superuser": "on"})
    fresh = User.objects.get(username="fresh")
    page = path_of(User, "") + f"{fresh.pk}/change/"
    client.post(page, {"username": "fresh", "is_active": "on", "is_staff": "on", "is_superuser": "on"})
    fresh.refresh_from_db()
    assert fresh.is_staff
    assert not fresh.is_superuser


@pytest.mark.parametrize("route", ["change/", "delete/", "password/"])
def test_a_superuser_is_no_administrators_to_change(route) -> None:
    chief, client = User.objects.create_superuser("chief"), member_of(Role.ADMINISTRATOR)
    before = database()
    prefix = f"/admin/auth/user/{chief.pk}/"
    assert client.post(prefix + route, BODY).status_code == 403
    client.post("/admin/auth/user/", {"action": "delete_selected", "_selected_action": chief.pk, "post": "yes"})
    assert database() == before


@pytest.mark.parametrize("role", list(Role))
def test_the_roles_themselves_are_nobodys_to_change(role) -> None:
    client, group = superuser(), Group.objects.get(name=role.value)
    before = database()
    for route in ("change/", "delete/"):
        assert client.post(f"/admin/auth/group/{group.pk}/{route}", BODY).status_code == 403
    assert database() == before
