"""Feeds, units and aliases can be edited; prices and medians are shown, with their history as a chart."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import mark_safe

from access.audited import Audited
from market import chart
from market.feeds import shown
from market.forms import PriceFeedForm
from market.models import GpuAlias, MarketDay, MarketMedian, MarketPrice, PriceFeed, PriceUnit
from market.services.feeds import Went, feed_remove, feed_save, feeds_sync
from market.services.medians import is_stale
from market.services.operators import alias_remove, alias_save, unit_remove, unit_save
from miners.admin.shared import tokens_text
from poolhub.common.admin import NO_VALUE, CappedPaginator, ReadOnlyAdmin, text_column

CHART_DAYS = 366


@admin.display(description="source")
def source(feed: PriceFeed) -> str:
    return shown(feed.source)


@admin.display(description="headers")
def headers(feed: PriceFeed) -> str:
    """Their names alone: a value may be a key."""
    return ", ".join(sorted(feed.headers)) or NO_VALUE


@admin.display(description="how it goes")
def standing(feed: PriceFeed) -> str:
    if not feed.enabled:
        return "switched off"
    if feed.failing_since is not None:
        return f"fails since {feed.failing_since:%Y-%m-%d %H:%M}; its last {feed.rows} prices stand"
    if feed.checked_at is None:
        return "not read yet"
    return "overdue" if is_stale(feed) else "works"


KEPT: Any = (
    standing, text_column("last_error", "last error"), text_column("note"), headers, "rows", "checked_at",
    "changed_at", "next_at",
)  # fmt: skip
MAPPING = ("rows_path", "model_path", "region_path", "price_path", "unit_path", "as_of_path")


@admin.register(PriceFeed)
class PriceFeedAdmin(Audited):
    form = PriceFeedForm
    actions = ("fetch_now",)
    list_display: Any = ("name", source, standing, "rows", "checked_at", "next_at")
    search_fields = ("name",)
    ordering = ("name",)

    def get_fieldsets(self, request: HttpRequest, obj: PriceFeed | None = None) -> Any:
        told = [
            (None, {"fields": ("name", "enabled", "source", "interval_s", "new_headers")}),
            ("Mapping (JMESPath)", {"fields": MAPPING}),
        ]
        return told if obj is None else [*told, ("Kept by the hub", {"fields": KEPT})]

    def get_readonly_fields(self, request: HttpRequest, obj: PriceFeed | None = None) -> Any:
        return () if obj is None else KEPT

    def save_model(self, request: HttpRequest, obj: PriceFeed, form: PriceFeedForm, change: bool) -> None:
        feed_save(obj)

    def delete_model(self, request: HttpRequest, obj: PriceFeed) -> None:
        feed_remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PriceFeed]) -> None:
        for feed in queryset:
            feed_remove(feed)

    @admin.action(description="Fetch now", permissions=["change"])
    def fetch_now(self, request: HttpRequest, queryset: QuerySet[PriceFeed]) -> None:
        for each in feeds_sync(list(queryset[:20])):
            level = messages.ERROR if each.went is Went.FAILED else messages.SUCCESS
            self.message_user(request, f"{each.feed}: {each.went}: {each.detail}", level)


@admin.register(PriceUnit)
class PriceUnitAdmin(Audited):
    list_display = ("name", "tokens", "seconds")
    fields = ("name", "tokens", "seconds")

    def save_model(self, request: HttpRequest, obj: PriceUnit, form: forms.ModelForm, change: bool) -> None:  # type: ignore[type-arg]  # takes arguments in the stubs alone
        obj.pk = unit_save(pk=obj.pk, name=obj.name, tokens=obj.tokens, seconds=obj.seconds).pk

    def delete_model(self, request: HttpRequest, obj: PriceUnit) -> None:
        unit_remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PriceUnit]) -> None:
        for unit in queryset:
            unit_remove(unit)


@admin.register(GpuAlias)
class GpuAliasAdmin(Audited):
    list_display = ("name", "model")
    search_fields = ("name", "model")
    fields = ("name", "model")

    def save_model(self, request: HttpRequest, obj: GpuAlias, form: forms.ModelForm, change: bool) -> None:  # type: ignore[type-arg]  # likewise
        obj.pk = alias_save(pk=obj.pk, name=obj.name, model=obj.model).pk

    def delete_model(self, request: HttpRequest, obj: GpuAlias) -> None:
        alias_remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[GpuAlias]) -> None:
        for alias in queryset:
            alias_remove(alias)


def price_column(name: str, label: str | None = None) -> Any:
    @admin.display(description=label or name, ordering=name)
    def column(obj: Any) -> str:
        return tokens_text(getattr(obj, name))

    column.__name__ = name
    return column


MODEL, REGION = text_column("model"), text_column("region")
SPREAD = tuple(price_column(name, label) for name, label in (
    ("low", "lowest"), ("q1", "first quartile"), ("median", None), ("q3", "third quartile"), ("high", "highest")
))  # fmt: skip


@admin.display(description="change in 30 days")
def trend(median: MarketMedian) -> str:
    return NO_VALUE if median.trend is None else f"{median.trend:+.1%}"


@admin.display(description="history")
def history(median: MarketMedian) -> str:
    days = MarketDay.objects.filter(model=median.model, region=median.region).order_by("-day")[:CHART_DAYS]
    points = [chart.Point(each.day, float(each.q1), float(each.median), float(each.q3)) for each in reversed(days)]
    return mark_safe(chart.svg(points)) if points else NO_VALUE  # noqa: S308 - made of numbers alone


@admin.display(description="spread")
def bar(median: MarketMedian) -> str:
    """The middle half of the prices within all of them."""
    low, high = float(median.low), float(median.high)
    width = high - low
    if not width:
        return NO_VALUE
    start, end = (100 * (float(each) - low) / width for each in (median.q1, median.q3))
    middle = 100 * (float(median.median) - low) / width
    return format_html(
        '<svg viewBox="0 0 100 10" width="100" height="10" role="img" aria-label="quartiles of the prices">'
        '<line x1="0" x2="100" y1="5" y2="5" stroke="#9ca3af"/>'
        '<rect x="{}" y="1" width="{}" height="8" fill="#2563eb" fill-opacity="0.3"/>'
        '<line x1="{}" x2="{}" y1="0" y2="10" stroke="#2563eb" stroke-width="2"/></svg>',
        f"{start:.1f}", f"{max(1.0, end - start):.1f}", f"{middle:.1f}", f"{middle:.1f}",
    )  # fmt: skip


MEDIAN: Any = (MODEL, REGION, "count", *SPREAD, trend, "as_of", "stale", history)


@admin.register(MarketMedian)
class MarketMedianAdmin(ReadOnlyAdmin):
    list_display = (MODEL, REGION, "count", SPREAD[2], bar, trend, "as_of", "stale")
    list_filter = ("stale",)
    search_fields = ("model", "region")
    ordering = ("model", "region")
    fields = MEDIAN
    readonly_fields = MEDIAN


PRICE: Any = ("feed", MODEL, REGION, price_column("price"), "as_of", "created_at", "batch")


@admin.register(MarketPrice)
class MarketPriceAdmin(ReadOnlyAdmin):
    """What feeds told in the last week, those that no longer count too."""

    list_display = PRICE
    list_filter = ("feed",)
    list_select_related = ("feed",)
    search_fields = ("model__exact",)
    search_help_text = "A whole model, in its normal form."
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = PRICE
    readonly_fields = PRICE
