"""/admin/miners/roundtrip/: the table of regions."""

import pytest
from django.test import Client
from django.urls import reverse

from access.models import Change
from miners.models import RoundTrip
from miners.registry.runtime import get_registry
from tests.operators import shows, superuser

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/miners/roundtrip/"
ADD = LIST + "add/"


@pytest.fixture
def root() -> Client:
    return superuser()


def page(of: str = "change") -> str:
    return reverse(f"admin:miners_roundtrip_{of}", args=[RoundTrip.objects.get().pk])


def test_a_time_is_set_counts_at_once_and_is_in_the_log(root) -> None:
    reply = root.post(ADD, {"region": "us", "other": "eu", "operator_ms": "80"})
    assert reply.status_code == 302, reply.content
    assert get_registry().roundtrips.between("eu", "us") == 80.0
    assert shows(root.get(LIST), "80.0 ms")
    assert root.post(page(), {"operator_ms": "90.5"}).status_code == 302
    assert get_registry().roundtrips.between("eu", "us") == 90.5
    assert shows(root.get(page("history")), "90.5")
    assert root.post(page("delete"), {"post": "yes"}).status_code == 302
    assert not RoundTrip.objects.exists()
    assert list(Change.objects.order_by("id").values_list("action", flat=True)) == ["set", "set", "removed"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"other": "eu"}, "other"),
        ({"operator_ms": "-1"}, "operator_ms"),
        ({"region": "e\u202eu"}, "region"),
        ({"region": ""}, "region"),
    ],
)
def test_what_is_refused_is_shown_at_its_field(root, sent, field) -> None:
    reply = root.post(ADD, {"region": "eu", "other": "us", "operator_ms": "80", **sent})
    assert reply.status_code == 200
    assert field in reply.context["adminform"].form.errors
    assert not RoundTrip.objects.exists()
