"""Miners listed: which ones, how many and in what order the registry knows; the database gives one page of them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ORDER_VAR
from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from numpy.typing import NDArray

from miners.admin import acting
from miners.admin.filters import OfMiners
from miners.models import Miner
from miners.registry.choosing import Choice, Order, choose
from miners.registry.runtime import get_registry
from poolhub.common import clock

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

SHOWN = ("miner_id", "gpu_name", "region")


class MinerChangeList(ChangeList):
    pks: NDArray[np.int64]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Miner]:
        """What an action is about: the miners that are ticked, or all of the list where there are not too many."""
        self.filter_specs, self.has_filters, rest, _, self.has_active_filters = self.get_filters(request)
        if rest:
            raise IncorrectLookupParameters
        self.clear_all_filters_qs = self.get_query_string(new_params=rest, remove=self.get_filters_params())
        narrowed: dict[str, Any] = {}
        for each in self.filter_specs:
            if isinstance(each, OfMiners):
                narrowed |= each.narrows()
        order, descending = self._order()
        choice = Choice(text=self.query.strip() or None, order=order, descending=descending, **narrowed)
        self.pks = choose(get_registry(), choice, now=clock.now())
        if request.POST.get("select_across") != "1":
            return self.root_queryset
        return self.root_queryset.filter(pk__in=self.pks[: acting.MAX_ACTED + 1].tolist())

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = Paginator(self.pks, self.list_per_page)
        self.result_count = len(self.pks)
        self.can_show_all = self.result_count <= self.list_max_show_all
        self.multi_page = self.result_count > self.list_per_page
        self.show_full_result_count, self.full_result_count, self.show_admin_actions = False, self.result_count, True
        shown = self.pks
        if self.multi_page and not (ALL_VAR in request.GET and self.can_show_all):
            try:
                shown = self.paginator.page(self.page_num).object_list
            except InvalidPage as error:
                raise IncorrectLookupParameters from error
        found = self.root_queryset.only(*SHOWN).in_bulk(shown.tolist())
        self.result_list: Any = [found[pk] for pk in shown.tolist() if pk in found]  # one may have gone since

    def _order(self) -> tuple[Order, bool]:
        """By the first column that is asked for; the links of the theme name more, which make no difference then."""
        first = self.params.get(ORDER_VAR, "").partition(".")[0]
        try:
            named = self.get_ordering_field(self.list_display[int(first.removeprefix("-"))])
            return Order(str(named)), first.startswith("-")
        except (ValueError, IndexError):
            return Order.MINER_ID, False
