"""What the page of a miner shows of it, as panels. Apps above this one add theirs when the admin is loaded."""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from miners.admin.shared import author_of
from miners.models import Miner


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    template: str
    permission: str  # to see it
    place: int  # the lowest comes first
    show: Callable[[HttpRequest, Miner], dict[str, Any]]  # what the template needs; no query for each row
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    panel: Panel
    of: dict[str, Any]


_panels: list[Panel] = []


def panel_add(panel: Panel) -> None:
    insort(_panels, panel, key=lambda each: each.place)


def panels_of(request: HttpRequest, miner: Miner) -> list[Shown]:
    """Those that this operator may see."""
    may = author_of(request).has_perm
    return [Shown(each, each.show(request, miner)) for each in _panels if may(each.permission)]
