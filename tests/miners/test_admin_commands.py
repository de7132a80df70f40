"""/admin/miners/minercommand/: sending commands."""

from decimal import Decimal

import pytest
from django.test import Client

from miners.models import MinerCommand
from miners.registry.records import State
from poolhub.common import clock
from tests.miners.admin_pages import COMMANDS
from tests.miners.builders import register, stored, view
from tests.operators import staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    return superuser()


def send(client: Client, **fields: object) -> object:
    return client.post(f"{COMMANDS}add/", {"miner": stored().pk, **fields}, follow=True)


def test_a_command_is_sent_by_its_author_and_holds_at_once(root) -> None:
    register(price_token_per_ksec=Decimal("0.9"), tags=["old"])
    send(root, name="set_price_cap", price="0.3")
    assert view().price == 30_000_000
    send(root, name="set_price_cap")
    assert view().price == 90_000_000
    send(root, name="update_tags", tags="gold\nnew")
    assert view().row.tags == ("gold", "new")
    send(root, name="drain")
    assert view().state is State.DRAINING
    assert {command.author.username for command in MinerCommand.objects.all()} == {"root"}
    assert [command.args for command in MinerCommand.objects.order_by("created_at")] == [
        {"price": 0.3},
        {},
        {"tags": ["gold", "new"]},
        {},
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "dance"}, "name"), ({"name": "drain", "miner": "999"}, "miner"),
        ({"name": "set_price_cap", "price": "-1"}, "price"), ({"name": "drain", "price": "1"}, "price"),
        ({"name": "drain", "tags": "t"}, "tags"), ({"name": "update_tags", "tags": "t" * 65}, "tags"),
        ({"name": "update_tags", "tags": "a\u202e"}, "tags"),
    ],
)  # fmt: skip
def test_a_command_that_makes_no_sense_is_refused_at_its_field(root, fields, named) -> None:
    register()
    before = view().row
    assert set(send(root, **fields).context["adminform"].form.errors) == {named}
    assert view().row == before
    assert not MinerCommand.objects.exists()


def test_miners_are_looked_up_as_their_id_is_typed(root) -> None:
    for name in ("gpu-1", "gpu-2", "other"):
        register(name)
    asked = {"app_label": "miners", "model_name": "minercommand", "field_name": "miner", "term": "gpu"}
    found = root.get("/admin/autocomplete/", asked).json()["results"]
    assert [each["text"] for each in found] == ["gpu-1", "gpu-2"]


def test_commands_take_a_permission_of_their_own() -> None:
    register()
    assert (
        staff("miners.change_miner").post(f"{COMMANDS}add/", {"miner": stored().pk, "name": "drain"}).status_code == 403
    )
    assert view().state is State.ONLINE


def test_a_command_is_dated_by_the_hubs_clock(root, time) -> None:
    register()
    send(root, name="drain")
    assert MinerCommand.objects.get().created_at == clock.to_datetime(time.now())
