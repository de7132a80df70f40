from typing import Annotated, Literal

from msgspec import Meta, Struct

from poolhub.common.fields import JobId, MinerId, Number, Tokens


class FeedbackRequest(Struct, kw_only=True):
    job_id: JobId
    miner_id: MinerId
    outcome: Literal["accepted", "rejected", "failed", "completed"]
    latency_ms: Number | None = None
    fail_code: Annotated[str, Meta(max_length=64)] | None = None
    tokens_spent: Tokens | None = None


class FeedbackAnswer(Struct, kw_only=True):
    job_id: str
    miner_id: str
    outcome: str
    trust_score: float
    duplicate: bool
