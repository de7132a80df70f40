"""Addresses of the admin's pages of miners, and the shortest way to have something on each."""

from decimal import Decimal
from typing import Any

from django.test import Client
from django.urls import reverse

from miners.choices import CommandName
from miners.services.commands import command_args, command_create
from miners.services.operators import price_override_create
from tests.miners.builders import register, stored

MINERS = "/admin/miners/miner/"
STATUSES = "/admin/miners/minerstatus/"
OVERRIDES = "/admin/miners/priceoverride/"
COMMANDS = "/admin/miners/minercommand/"


def page(miner_id: str = "m1", of: str = "change") -> str:
    return reverse(f"admin:miners_miner_{of}", args=[stored(miner_id).pk])


def ids(client: Client, **params: str) -> list[str]:
    """The miners that the list shows."""
    reply = client.get(MINERS, params)
    assert reply.status_code == 200, reply
    return [miner.miner_id for miner in reply.context["cl"].result_list]


def everything() -> None:
    """m1 with an override and a command."""
    register("m1", region="eu", gpu_name="H100", tags=["t"])
    price_override_create(miner_id="m1", price=Decimal("0.5"), reason="a campaign")
    name = CommandName.UPDATE_TAGS
    command_create(miner_id="m1", name=name, args=command_args(name, {"tags": ["gold"]}))


def do(client: Client, action: str, *miner_ids: str, **sent: Any) -> Any:
    """Choose these miners in the list and have the action done."""
    chosen = [stored(miner_id).pk for miner_id in miner_ids]
    return client.post(MINERS, {"action": action, "_selected_action": chosen, **sent}, follow=True)
