"""Feeds, what they said, and what that comes to."""

from datetime import date

from django.db import models
from django.db.models import Q
from django.utils import timezone

from market.names import MAX_NAME
from miners.tokens import TokensField
from poolhub.common.text import visible

MIN_INTERVAL_S, MAX_INTERVAL_S = 60, 604_800
ALL_REGIONS = "*"


class PriceUnit(models.Model):
    """What a price of 1 is worth, in a unit that feeds name: usd/hour is so many tokens for 3,600 s."""

    name = models.CharField(max_length=32, unique=True)  # lower case
    tokens = TokensField()
    seconds = models.PositiveIntegerField()

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(condition=Q(tokens__gt=0, seconds__gte=1), name="price_unit_bounds"),
        ]

    def __str__(self) -> str:
        return self.name


class GpuAlias(models.Model):
    """An operator's correction: this name, in its normal form, is that model."""

    name = models.CharField(max_length=MAX_NAME, unique=True)
    model = models.CharField(max_length=MAX_NAME)

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "GPU aliases"

    def __str__(self) -> str:
        return f"{visible(self.name)} = {visible(self.model)}"


class PriceFeed(models.Model):
    """Where prices come from, how they are read, and how that went last. `batch` names the prices that count."""

    name = models.CharField(max_length=MAX_NAME, unique=True)
    enabled = models.BooleanField(default=True)
    source = models.CharField(max_length=500)  # a URL, or a file below MARKET_FEED_DIR
    interval_s = models.PositiveIntegerField(default=3600)
    headers = models.JSONField(default=dict, blank=True)  # may hold keys: shown nowhere
    rows_path = models.CharField(max_length=300, blank=True, default="")
    model_path = models.CharField(max_length=300)
    region_path = models.CharField(max_length=300, blank=True, default="")
    price_path = models.CharField(max_length=300)
    unit_path = models.CharField(max_length=300)
    as_of_path = models.CharField(max_length=300, blank=True, default="")

    etag = models.CharField(max_length=300, blank=True, default="")
    last_modified = models.CharField(max_length=100, blank=True, default="")
    digest = models.CharField(max_length=64, blank=True, default="")  # of the content
    batch = models.PositiveIntegerField(default=0)
    rows = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)
    checked_at = models.DateTimeField(null=True, blank=True)  # last answer that was of use, changed or not
    changed_at = models.DateTimeField(null=True, blank=True)  # of the prices that count
    failing_since = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="")  # rows that were passed over

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=Q(interval_s__gte=MIN_INTERVAL_S, interval_s__lte=MAX_INTERVAL_S), name="feed_interval_bounds"
            ),
        ]

    def __str__(self) -> str:
        return visible(self.name)


class MarketPrice(models.Model):
    """One price that a feed told. Those of its newest batch count; older ones are kept for a week."""

    feed = models.ForeignKey(PriceFeed, models.CASCADE, related_name="prices", db_index=False)
    batch = models.PositiveIntegerField()
    model = models.CharField(max_length=MAX_NAME)
    region = models.CharField(max_length=MAX_NAME, blank=True, default="")
    price = TokensField()  # tokens per 1,000 s
    as_of = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["feed", "batch"], name="market_price_batch"),
            models.Index(fields=["model", "region", "-id"], name="market_price_model"),
            models.Index(fields=["created_at"], name="market_price_old"),
        ]

    def __str__(self) -> str:
        return f"{self.price} for {visible(self.model)}"


class MarketMedian(models.Model):
    """The market as it is: one row a model and region, `*` for all regions together. Written anew as a whole."""

    model = models.CharField(max_length=MAX_NAME)
    region = models.CharField(max_length=MAX_NAME, blank=True, default="")
    count = models.PositiveIntegerField()
    low = TokensField()
    q1 = TokensField()
    median = TokensField()
    q3 = TokensField()
    high = TokensField()
    trend = models.FloatField(null=True, blank=True)  # change in 30 days, as a share; None = too short a history
    quantiles = models.JSONField(default=list)  # ascending, 1e-8 tokens: all prices, or about a hundred of them
    as_of = models.DateTimeField()
    stale = models.BooleanField(default=False)  # a feed behind it fails

    class Meta:
        ordering = ("model", "region")
        constraints = [models.UniqueConstraint(fields=["model", "region"], name="market_median_once")]

    def __str__(self) -> str:
        return f"{visible(self.model)} in {visible(self.region) or 'no region'}"


class MarketDay(models.Model):
    """The history: what a day's last look at the market came to."""

    day = models.PositiveIntegerField()  # days since 0001-01-01, as date.toordinal
    model = models.CharField(max_length=MAX_NAME)
    region = models.CharField(max_length=MAX_NAME, blank=True, default="")
    count = models.PositiveIntegerField()
    q1 = TokensField()
    median = TokensField()
    q3 = TokensField()

    class Meta:
        ordering = ("model", "region", "day")
        constraints = [models.UniqueConstraint(fields=["model", "region", "day"], name="market_day_once")]
        indexes = [models.Index(fields=["day"], name="market_day_old")]

    def __str__(self) -> str:
        return f"{visible(self.model)} on {self.date}"

    @property
    def date(self) -> date:
        return date.fromordinal(self.day)


class MarketVersion(models.Model):
    """One row: raised with every change of the medians or aliases, so that each process knows when it is behind."""

    version = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.version)
