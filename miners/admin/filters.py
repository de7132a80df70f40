from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from miners.models import Miner, PriceOverride
from miners.registry.records import State
from miners.registry.runtime import get_registry
from poolhub.common import clock
from poolhub.common.text import visible

MAX_REGIONS = 30

Lookups = list[tuple[str, str]]


def in_state(state: State, now: float) -> Q:
    """Miners in a state as the database tells it: up to a second behind the registry, which writes last contacts there
    in batches. Just after a start, miners whose lease ran while the hub was down count as offline here."""
    live = Q(logged_out=False, status__last_seen__gte=clock.to_datetime(now - settings.HEARTBEAT_GRACE_SEC))
    draining = Q(draining=True) | Q(operator_drain=True)
    enabled, at_work = Q(disabled=False), Q(draining=False, operator_drain=False)
    late = Q(status__last_seen__lt=clock.to_datetime(now - settings.SESSION_TTL_SEC))
    in_time = Q(status__last_seen__gte=clock.to_datetime(now - settings.SESSION_TTL_SEC))
    silent = (
        Q(logged_out=True)
        | Q(status__last_seen__isnull=True)
        | Q(status__last_seen__lt=clock.to_datetime(now - settings.HEARTBEAT_GRACE_SEC))
    )
    found: dict[State, Q] = {
        State.DISABLED: Q(disabled=True),
        State.OFFLINE: enabled & silent,
        State.DRAINING: enabled & live & draining,
        State.DEGRADED: enabled & live & at_work & late,
        State.ONLINE: enabled & live & at_work & in_time,
    }
    return found[state]


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        return [(state.value, state.value) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Miner]) -> QuerySet[Miner]:
        asked = self.value()
        return queryset.filter(in_state(State(asked), clock.now())) if asked in list(State) else queryset


class RegionFilter(admin.SimpleListFilter):
    """The regions with the most miners: what a region is called is the miners' choice, so there may be any number."""

    title = "region"
    parameter_name = "region"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Lookups:
        miners = {name: sum(states.values()) for name, states in get_registry().counts(now=clock.now()).items()}
        most = sorted(miners, key=lambda name: (-miners[name], name))[:MAX_REGIONS]
        return [(name, visible(name) or "(none)") for name in sorted(most) if miners[name]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Miner]) -> QuerySet[Miner]:
        asked = self.value()
        return queryset if asked is None else queryset.filter(region=asked)


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
