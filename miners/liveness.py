"""Rules of the contract's section 3 about time, pure: the clock is an argument."""

from miners.limits import CLOCK_SKEW_S


def ordering_ts(ts: float, now: float) -> float | None:
    """The miner's own time where it may order its messages, None where its clock is too far off the hub's."""
    return ts if abs(ts - now) <= CLOCK_SKEW_S else None


def next_heartbeat_s(session_ttl_s: float) -> float:
    return whole(session_ttl_s / 3)


def whole(seconds: float) -> float:
    """The same number, as an int where it is one: JSON shows 60, not 60.0, which some clients refuse for a duration."""
    return int(seconds) if float(seconds).is_integer() else seconds
