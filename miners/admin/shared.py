"""What the pages of several models show alike."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Protocol

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from miners.models import Miner


class OfMiner(Protocol):
    miner: Miner


@admin.display(description="miner", ordering="miner__miner_id")
def miner_link(obj: OfMiner) -> str:
    """Needs the miner selected along."""
    return format_html(
        '<a href="{}">{}</a>', reverse("admin:miners_miner_change", args=[obj.miner.pk]), obj.miner.miner_id
    )


def miner_urls(miner_ids: Iterable[str]) -> dict[str, str]:
    """The pages of those that are there, in one query."""
    known = Miner.objects.filter(miner_id__in=set(miner_ids)).values_list("miner_id", "pk")
    return {miner_id: reverse("admin:miners_miner_change", args=[pk]) for miner_id, pk in known}


def tokens_text(amount: Decimal) -> str:
    """Exact, without the zeros at its end."""
    return f"{amount.normalize():f}"


def too_many_rows(number: int, most: int) -> str:
    """Of a file that is imported."""
    return f"It has {number:,} rows; at most {most:,} are imported at once."


def author_of(request: HttpRequest) -> User:
    user: Any = request.user
    assert isinstance(user, User)  # the admin site lets in nobody else
    return user
