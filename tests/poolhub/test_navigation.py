"""The admin's sidebar, and the search over it."""

import pytest
from django.contrib.admin import site
from django.test import RequestFactory

from poolhub import navigation
from tests.operators import staff, superuser

pytestmark = pytest.mark.django_db


def shown(client) -> list[str]:
    groups = client.get("/admin/").context["sidebar_navigation"]
    return [item["title"] for group in groups for item in group["items"] if item["has_permission"]]


def test_every_page_of_the_admin_has_its_place() -> None:
    placed = {entry.view for _, entries in navigation.GROUPS for entry in entries}
    assert {model._meta.label_lower for model in site._registry} <= placed


def test_an_operator_sees_what_they_may_see() -> None:
    everything = [entry.title for _, entries in navigation.GROUPS for entry in entries]
    assert shown(superuser()) == everything
    assert shown(staff("miners.view_miner")) == ["Dashboard", "Miners"]


@pytest.mark.parametrize("query", ["?s=PRICE", "?s=price&extended=1", "?s=price&extended=1&page=nonsense"])
def test_search_finds_the_pages_that_one_may_see(query) -> None:
    found = "/admin/miners/priceoverride/"
    assert found in superuser().get(f"/admin/search/{query}").content.decode()
    assert found not in staff("miners.view_miner").get(f"/admin/search/{query}").content.decode()


@pytest.mark.parametrize("query", ["", "?s=", "?s=%20"])
def test_a_search_for_nothing_finds_nothing(query) -> None:
    assert superuser().get(f"/admin/search/{query}").content == b""


@pytest.mark.parametrize(
    ("path", "active"),
    [
        ("/admin/", "Dashboard"),
        ("/admin/matching/matchrecord/", "Job history"),
        ("/admin/feedback/feedback/job/", "Job history"),
        ("/admin/feedback/feedback/", "Feedback"),
        ("/admin/matching/matchrecord/playground/", "Match playground"),
    ],
)
def test_one_entry_is_active(path, active) -> None:
    groups = navigation.sidebar(RequestFactory().get(path))
    assert [item["title"] for group in groups for item in group["items"] if item["active"]] == [active]
