"""/admin/miners/roundtrip/: the table of regions."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from access.models import Change
from miners.models import RoundTrip
from miners.regions.table import round_trip_set
from miners.registry.runtime import get_registry
from tests.operators import shows, staff, superuser

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


# ---- a table as CSV

HEAD = "region,other,operator_ms\n"
IMPORT = LIST + "import/"


def sent(client: Client, text: str, **more: Any) -> Any:
    return client.post(IMPORT, {"text": text, **more})


def rows() -> list[tuple[str, str, float | None]]:
    return list(RoundTrip.objects.values_list("region", "other", "operator_ms"))


def test_a_table_is_shown_first_and_set_at_once(root) -> None:
    round_trip_set(region="eu", other="us", operator_ms=80.0)
    text = HEAD + "us,eu,90\neu,asia,210.5\n"
    asked = sent(root, text)
    assert [(each.pair, each.before, each.after) for each in asked.context["changes"]] == [
        (("asia", "eu"), None, 210.5), (("eu", "us"), 80.0, 90.0),
    ]  # fmt: skip
    assert rows() == [("eu", "us", 80.0)]
    assert Change.objects.count() == 1
    done = sent(root, text.replace("\n", "\r\n"), confirmed=asked.context["shown"])
    assert done.status_code == 302
    assert rows() == [("asia", "eu", 210.5), ("eu", "us", 90.0)]
    assert get_registry().roundtrips.between("eu", "us") == 90.0
    assert Change.objects.count() == 3
    assert shows(root.get(LIST), "2 round trips set.")


def test_a_file_is_read_as_what_is_pasted(root) -> None:
    content = "\ufeff" + HEAD + "eu,us,\n"
    file = SimpleUploadedFile("regions.csv", content.encode())
    asked = root.post(IMPORT, {"file": file})
    assert asked.context["changes"] == []  # nothing was set, and nothing would be
    assert asked.context["form"].initial["text"] == HEAD + "eu,us,"


def test_what_was_changed_since_it_was_shown_is_shown_again(root) -> None:
    asked = sent(root, HEAD + "eu,us,80\n")
    again = sent(root, HEAD + "eu,us,8\n", confirmed=asked.context["shown"])
    assert again.status_code == 200
    assert [each.after for each in again.context["changes"]] == [8.0]
    assert rows() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Choose a file"),
        ("eu,us,80\n", "The first line is"),
        (HEAD + "eu,us\n", "Line 2: it has 2 cells"),
        (HEAD + "eu,us,far\n", "Line 2: could not convert"),
        (HEAD + "eu,us,80\neu,eu,1\n", "Line 3: other"),
        (HEAD + "eu,us,nan\n", "Line 2: operator_ms"),
        (HEAD + "eu,us,1\nus,eu,2\n", "Line 3: the pair eu, us is there twice"),
        (HEAD + '"eu,us,1\n', "That is no CSV"),
        (HEAD + "e\u202eu,us,1\n", "Line 2: region"),
        (HEAD + "eu,us,1\n" * 5001, "It has 5,001 rows; at most 5,000"),
    ],
)
def test_a_table_with_a_fault_is_refused_as_a_whole(root, text, told) -> None:
    reply = sent(root, text, confirmed="x")
    assert reply.status_code == 200
    assert shows(reply, told)
    assert rows() == []


@pytest.mark.parametrize(("permissions", "status"), [(("add", "change"), 200), (("add",), 403), (("change",), 403)])
def test_an_import_needs_both_permissions(permissions, status) -> None:
    client = staff("miners.view_roundtrip", *(f"miners.{each}_roundtrip" for each in permissions))
    assert client.get(IMPORT).status_code == status
    assert sent(client, HEAD + "eu,us,80\n").status_code == status
