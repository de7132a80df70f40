"""Doing one thing to each of the objects that an operator chose, each in a transaction of its own.

What a service refuses is told, and stops none of the others.
"""

from collections.abc import Callable
from typing import TypeVar

from django.contrib import messages
from django.contrib.admin.utils import model_ngettext
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from miners.services.rows import changing
from poolhub.common.admin import HubAdmin
from poolhub.common.errors import HubError

M = TypeVar("M", bound=Model)

MAX_ACTED = 500  # objects of one request: it is to end before its client gives up
MAX_SHOWN = 10  # refusals that are shown one by one


def chosen(admin: HubAdmin, request: HttpRequest, queryset: QuerySet[M]) -> list[M]:
    """In one order for everybody; empty, and said so, where they are too many."""
    found = list(queryset.order_by("pk")[: MAX_ACTED + 1])
    if len(found) > MAX_ACTED:
        told = f"At most {MAX_ACTED} {admin.opts.verbose_name_plural} at once; nothing was done."
        admin.message_user(request, told, messages.ERROR)
        return []
    return found


def number_of(objects: list[M]) -> str:
    return f"{len(objects)} {model_ngettext(objects[0]._meta, len(objects))}"


def act_on_each(
    admin: HubAdmin,
    request: HttpRequest,
    queryset: QuerySet[M],
    *,
    done: str,
    act: Callable[[M], object],
) -> list[M]:
    """The objects where it went well."""
    acted: list[M] = []
    refusals: list[str] = []
    for each in chosen(admin, request, queryset):
        try:
            with changing():
                act(each)
        except HubError as error:
            refusals.append(f"{each}: {error.detail}")
        else:
            acted.append(each)
    if acted:
        admin.message_user(request, f"{number_of(acted)} {done}.", messages.SUCCESS)
    for told in refusals[:MAX_SHOWN]:
        admin.message_user(request, told, messages.ERROR)
    if len(refusals) > MAX_SHOWN:
        admin.message_user(request, f"{len(refusals) - MAX_SHOWN} more were refused.", messages.ERROR)
    return acted
