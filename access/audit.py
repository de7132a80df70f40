"""Who changed what, from what to what: written by the services that change it, in the same transaction.

Promise: what an operator changed and what the log says of it are committed together or not at all. Who acts is known by
the context, which the admin's views and the operators' routes set; so no service can forget to pass it on, and what
comes from neither is the command line's.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from access.models import Change
from poolhub.common import clock
from poolhub.common.network import request_address
from poolhub.common.requestid import request_id_of
from poolhub.common.text import visible

MAX_NAME, MAX_REASON = 200, 200


class Via(StrEnum):
    ADMIN = "admin"
    API = "API"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Actor:
    via: Via = Via.COMMAND_LINE
    user_pk: int | None = None
    user_name: str = ""
    address: str = ""
    request_id: str = ""
    reason: str = ""


_actor: ContextVar[Actor] = ContextVar("actor", default=Actor())  # noqa: B039 - it is frozen


def actor_of(request: HttpRequest, *, via: Via, reason: str = "") -> Actor:
    user = request.user
    known = user.is_authenticated
    return Actor(
        via=via,
        user_pk=user.pk if known else None,
        user_name=user.get_username() if known else "",
        address=request_address(request)[:45],
        request_id=request_id_of(request),
        reason=visible(reason.strip())[:MAX_REASON],
    )


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def change_record(
    *,
    action: str,
    obj: Model,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    of: Model | None = None,
    name: str = "",
) -> Change:
    """Call it in the transaction of the change, while the object has its primary key. No secrets, no hashes of any.

    of: what the object belongs to, whose history tells it too. name: of the object, where its text says too little.
    """
    actor = _actor.get()
    return Change.objects.create(
        at=clock.to_datetime(clock.now()),
        user_pk=actor.user_pk,
        user_name=actor.user_name,
        via=actor.via,
        address=actor.address,
        request_id=actor.request_id,
        reason=actor.reason,
        action=action[:64],
        model=obj._meta.label_lower,
        object_pk=str(obj.pk),
        object_name=visible(name or str(obj))[:MAX_NAME],
        of_model="" if of is None else of._meta.label_lower,
        of_pk="" if of is None else str(of.pk),
        before={name: plain(value) for name, value in before.items()},
        after={name: plain(value) for name, value in after.items()},
    )


def changes_of(obj: Model) -> QuerySet[Change]:
    """Of the object and of what belongs to it, the newest first."""
    label, pk = obj._meta.label_lower, str(obj.pk)
    return Change.objects.filter(Q(model=label, object_pk=pk) | Q(of_model=label, of_pk=pk)).order_by("-id")


def shown(value: Any) -> str:
    """A kept value as a page shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def plain(value: Any) -> Any:
    """As JSON has it; exact, for people to read."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return clock.to_rfc3339(value.timestamp())
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)
