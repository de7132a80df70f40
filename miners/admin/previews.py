"""What a price for some miners would change, before it is set: told by the app above that knows of matches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.http import HttpRequest

from miners.admin.shared import author_of
from miners.models import Miner


@dataclass(frozen=True, slots=True)
class PricePreview:
    template: str
    permission: str  # to see it
    show: Callable[[Sequence[Miner], Decimal], dict[str, Any]]


_previews: list[PricePreview] = []


def price_preview_add(preview: PricePreview) -> None:
    _previews.append(preview)


def price_previews_of(
    request: HttpRequest, miners: Sequence[Miner], price: Decimal
) -> list[tuple[str, dict[str, Any]]]:
    """(template, what it needs) of each that this operator may see."""
    may = author_of(request).has_perm
    return [(each.template, each.show(miners, price)) for each in _previews if may(each.permission)]
