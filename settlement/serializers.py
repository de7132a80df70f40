"""Answers about settlement events, for coordinators."""

from msgspec import Struct


class SettlementPrice(Struct):
    tokens_per_ksec: str
    source: str
    as_of: str


class SettlementAnswer(Struct, kw_only=True):
    id: str
    job_id: str
    miner_id: str
    wallet_address: str
    tokens_spent: str
    price: SettlementPrice | None
    reservation_id: str | None
    matched_at: str | None
    accepted_at: str | None
    completed_at: str
    state: str
    attempts: int
    last_error: str
    next_attempt_at: str | None  # while it is pending
    delivered_at: str | None
    transaction: str | None


class SettlementPage(Struct, kw_only=True):
    results: list[SettlementAnswer]
    next_cursor: str | None
