"""Price overrides as the rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from miners.admin.shared import tokens_text
from miners.models import PriceOverride
from miners.standing import Standing, standings
from poolhub.common.text import visible


@dataclass(frozen=True, slots=True)
class OverrideLine:
    miner_id: str
    price: str
    standing: Standing
    valid_from: datetime
    valid_until: datetime | None
    author: str
    reason: str
    url: str


def override_lines(overrides: Sequence[PriceOverride], now: float) -> list[OverrideLine]:
    """Needs the miners and the authors selected along. All of a miner that are not over must be among them."""
    return [
        OverrideLine(
            each.miner.miner_id, tokens_text(each.price), standing, each.valid_from, each.valid_until,
            "" if each.author is None else each.author.get_username(), visible(each.reason),
            reverse("admin:miners_priceoverride_change", args=[each.pk]),
        )
        for each, standing in zip(overrides, standings(overrides, now), strict=True)
    ]  # fmt: skip
