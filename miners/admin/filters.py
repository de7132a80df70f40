"""Filters of the lists. Those of miners say what they ask of the registry; the list of miners puts them together."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from miners.choices import Proto
from miners.models import PriceOverride
from miners.registry.prices import UNITS
from miners.registry.records import State
from miners.registry.runtime import get_registry
from miners.registry.terms import Kind
from poolhub.common import clock
from poolhub.common.text import visible

if TYPE_CHECKING:  # the theme has no types; its filters are subclasses of this one
    from django.contrib.admin import SimpleListFilter as DropdownFilter
    from django.contrib.admin import SimpleListFilter as RangeNumericListFilter
    from django.contrib.admin import SimpleListFilter as TextFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter, RangeNumericListFilter, TextFilter

MAX_NAMES = 30

Lookups = list[tuple[str, str]]
Narrowing = dict[str, Any]  # fields of miners.registry.choosing.Choice


class OfMiners(ABC):
    """A filter that narrows no query: the registry knows which miners pass."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset

    @abstractmethod
    def narrows(self) -> Narrowing:
        """What it asks for now."""


class StateFilter(OfMiners, DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        of_regions = get_registry().counts(now=clock.now()).values()
        return [(state.value, f"{state} ({sum(each.get(state, 0) for each in of_regions)})") for state in State]

    def narrows(self) -> Narrowing:
        asked = self.value()
        return {"state": State(asked)} if asked in list(State) else {}


class OfTerm(OfMiners, DropdownFilter):
    """The names that most miners have: what they call things is their choice, so there may be any number."""

    kind: Kind

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        registry = get_registry()
        with registry.lock:
            miners = registry.terms.counts(self.kind)
        most = sorted(miners, key=lambda name: (-miners[name], name))[:MAX_NAMES]
        asked = self.value()
        names = {*most, asked} if asked else set(most)  # what is asked for stays on the page
        return [(name, f"{visible(name)} ({miners.get(name, 0)})") for name in sorted(names) if name]

    def narrows(self) -> Narrowing:
        return {self.kind.value: self.value()} if self.value() else {}


class RegionFilter(OfTerm):
    title = "region"
    parameter_name = "region"
    kind = Kind.REGION


class GpuFilter(OfTerm):
    title = "GPU"
    parameter_name = "gpu"
    kind = Kind.GPU


class CapabilityFilter(OfMiners, TextFilter):
    title = "capability (its whole name)"
    parameter_name = "capability"

    def narrows(self) -> Narrowing:
        asked = (self.value() or "").strip()
        return {"capability": asked} if asked else {}


class ProtoFilter(OfMiners, DropdownFilter):
    title = "protocol"
    parameter_name = "proto"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        return [(proto.value, proto.value) for proto in Proto]

    def narrows(self) -> Narrowing:
        return {"proto": self.value()} if self.value() in Proto.values else {}


class OfNumber(OfMiners, RangeNumericListFilter):
    """From and to; what is no number asks for nothing."""

    scale = 1.0

    def narrows(self) -> Narrowing:
        found = {}
        for end in ("from", "to"):
            number = _number(self.used_parameters.get(f"{self.parameter_name}_{end}"))
            if number is not None:
                found[f"{self.parameter_name}_{end}"] = number * self.scale
        return found


class PriceFilter(OfNumber):
    title = "effective price"
    parameter_name = "price"
    scale = float(UNITS)


class TrustFilter(OfNumber):
    title = "trust (0 to 1)"
    parameter_name = "trust"


WHEN: dict[str, Callable[[Any], Q]] = {
    "in force": lambda at: Q(valid_from__lte=at) & (Q(valid_until__isnull=True) | Q(valid_until__gt=at)),
    "future": lambda at: Q(valid_from__gt=at),
    "past": lambda at: Q(valid_until__lte=at),
}


class WhenFilter(admin.SimpleListFilter):
    title = "standing"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        return [(name, name) for name in WHEN]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PriceOverride]) -> QuerySet[PriceOverride]:
        asked = self.value()
        return queryset.filter(WHEN[asked](clock.to_datetime(clock.now()))) if asked in WHEN else queryset


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if isfinite(number) else None
