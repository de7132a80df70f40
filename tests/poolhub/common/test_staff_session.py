"""An operator's browser on the API: the staff session stands for the admin secret, all the way."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from miners.models import MinerCommand
from miners.registry import runtime
from tests.miners.builders import register

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/m1/commands"
TOKEN = "t" * 32


@pytest.fixture
def browser():
    runtime.set_registry(runtime.new_registry())
    register()
    made = Client(enforce_csrf_checks=True)
    user = User.objects.create_user("operator", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_minercommand"))
    made.force_login(user)
    made.cookies["poolhub_csrf"] = TOKEN
    yield made
    runtime.reset()


def drain(browser, **headers: str):
    return browser.post(URL, {"name": "drain"}, content_type="application/json", headers=headers)


def test_staff_reads_and_commands(browser) -> None:
    assert browser.get("/v1/miners/m1").json()["miner_id"] == "m1"
    assert drain(browser, **{"X-CSRFToken": TOKEN}).status_code == 201
    assert MinerCommand.objects.get().name == "drain"


@pytest.mark.parametrize("headers", [{}, {"X-CSRFToken": "u" * 32}])
def test_another_sites_page_cannot_command_with_it(browser, headers) -> None:
    reply = drain(browser, **headers)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert not MinerCommand.objects.exists()


def test_who_is_no_longer_staff_is_401(browser) -> None:
    User.objects.update(is_staff=False)
    assert drain(browser, **{"X-CSRFToken": TOKEN}).status_code == 401


def test_who_may_not_send_commands_in_the_admin_may_not_here(browser) -> None:
    User.user_permissions.through.objects.all().delete()
    reply = drain(browser, **{"X-CSRFToken": TOKEN})
    assert (reply.status_code, reply.json()["code"]) == (403, "permission_missing")
    assert not MinerCommand.objects.exists()
    assert browser.get("/v1/miners/m1").status_code == 200
