"""Operators' commands to miners: the hub's own effect and the record of it, in one transaction.

The effect holds in the next match, whether or not the miner ever answers.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from msgspec import Struct

from access.audit import change_record
from miners import limits
from miners.choices import CommandName
from miners.models import OPEN, MinerCommand
from miners.profile import refuse, unique, unsafe_texts
from miners.serializers import COMMAND_ARGS, PriceCapArgs, TagsArgs
from miners.services.delivery import command_tell
from miners.services.operators import miner_set_operator_drain, miner_set_price_cap, miner_set_tags
from miners.services.rows import changing, miner_lock_known
from poolhub.common import clock, codec
from poolhub.common.errors import Conflict
from poolhub.common.fields import price_number, price_units
from poolhub.common.metrics import COMMANDS

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def command_args(name: CommandName, args: Mapping[str, Any]) -> Struct:
    """The arguments of a command, checked; ValidationFailed names them as `args.…`."""
    checked = codec.convert(args, COMMAND_ARGS[name], path="args")
    if isinstance(checked, TagsArgs):
        refuse(unsafe_texts({"tags": checked.tags}, path="args."))
    return checked


def command_create(*, miner_id: str, name: CommandName, args: Struct, author: "User | None" = None) -> MinerCommand:
    """Raises NotFound, and Conflict where too many commands wait for this miner's answer already."""
    with changing():
        miner = miner_lock_known(miner_id)
        if miner.commands.filter(OPEN).count() >= limits.MAX_OPEN_COMMANDS:
            raise Conflict(f"{limits.MAX_OPEN_COMMANDS} commands wait for this miner's answer already")
        _take_effect(miner_id, name, args)
        now = clock.now()
        newest = miner.commands.aggregate(newest=Max("number"))["newest"] or 0  # the miner's lock keeps the order
        made = MinerCommand.objects.create(
            miner=miner,
            number=newest + 1,
            name=name,
            args=_kept(args),
            author=author,
            created_at=clock.to_datetime(now),
            expires_at=clock.to_datetime(now + settings.COMMAND_TTL_SEC),
        )
        transaction.on_commit(partial(command_tell, miner_id))
        after = {"name": made.name, "args": made.args}
        change_record(action="command sent", obj=made, of=miner, name=f"{name} to {miner_id}", before={}, after=after)
    COMMANDS.labels(event="created").inc()
    return made


def _take_effect(miner_id: str, name: CommandName, args: Struct) -> None:
    if name in (CommandName.DRAIN, CommandName.RESUME):
        miner_set_operator_drain(miner_id=miner_id, drain=name == CommandName.DRAIN)
    elif isinstance(args, PriceCapArgs):
        miner_set_price_cap(miner_id=miner_id, price=args.price)
    elif isinstance(args, TagsArgs):
        miner_set_tags(miner_id=miner_id, tags=unique(args.tags))


def _kept(args: Struct) -> dict[str, Any]:
    """As the miner will read them."""
    if isinstance(args, PriceCapArgs):
        return {} if args.price is None else {"price": price_number(price_units(args.price))}
    return {"tags": unique(args.tags)} if isinstance(args, TagsArgs) else {}
