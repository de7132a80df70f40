"""What a receiver gets: docs/schemas/settlement-event.schema.json describes it. Pure.

Amounts are decimals with 8 places in text, since a JSON number would be read as a float by most receivers.
"""

import uuid
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

EVENT_TYPE = "settlement.completed"
ONE_UNIT = Decimal("1e-8")


class PriceData(msgspec.Struct, frozen=True):
    tokens_per_ksec: str
    source: str  # own, override or cap
    as_of: str  # match, or feedback where the match is not known any more


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    event_id: str
    job_id: str
    miner_id: str
    wallet_address: str  # as of the feedback; "" = the miner has named none
    tokens_spent: str
    price: PriceData | None
    outcome: str
    reservation_id: str | None
    matched_at: str | None
    accepted_at: str | None
    completed_at: str


class EventBody(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: EventData


def body_of(data: EventData) -> str:
    return msgspec.json.encode(EventBody(EVENT_TYPE, data.completed_at, data)).decode()


def amount_text(amount: Decimal) -> str:
    return f"{abs(rounded(amount)):f}"


def rounded(amount: Decimal) -> Decimal:
    """To 8 places, the half going to the even: as the database keeps it."""
    return amount.quantize(ONE_UNIT, ROUND_HALF_EVEN)


def time_text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def public_id(uid: uuid.UUID) -> str:
    return f"evt_{uid.hex}"
