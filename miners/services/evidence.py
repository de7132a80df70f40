"""What feedback proves about a miner. The caller, feedback, decides what it means; here it becomes durable."""

from miners.models import Miner
from miners.services.rows import miner_save
from poolhub.common import clock


def miner_record_evidence(
    *, miner: Miner, trust_s: float, trust_f: float, trust_at: float, latency_ms: float | None = None
) -> None:
    """Set the Beta counts as of trust_at, and add one measured latency to the running mean.

    miner is locked by the caller's transaction (`miner_lock`), from before it read the counts; the registry takes the
    row after commit.
    """
    changes: dict[str, object] = {"trust_s": trust_s, "trust_f": trust_f, "trust_at": clock.to_datetime(trust_at)}
    if latency_ms is not None:
        count = miner.latency_count + 1
        mean = miner.latency_mean or 0.0
        changes |= {"latency_mean": mean + (latency_ms - mean) / count, "latency_count": count}
    miner_save(miner, changes)
