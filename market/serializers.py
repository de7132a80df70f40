"""Answers about the market and about a miner's standing in it."""

from msgspec import Struct


class MarketPriceAnswer(Struct, kw_only=True):
    """Tokens per 1,000 s."""

    model: str
    region: str  # "" = named by no feed; "*" = all together
    count: int
    low: float
    q1: float
    median: float
    q3: float
    high: float
    trend: float | None  # change of the median in 30 days, as a share
    as_of: str
    stale: bool  # a feed behind it fails: its last prices stand


class MarketPrices(Struct, kw_only=True):
    version: int
    results: list[MarketPriceAnswer]
