"""How long an event waits after an attempt that failed. Pure."""

FIRST_S, LONGEST_S = 5.0, 14_400.0
JITTER = 0.25  # of the wait, either way: receivers that come back are not met by all events at once


def wait_s(attempts: int, chance: float, *, asked_s: float = 0.0) -> float:
    """After so many attempts, >= 1; chance in [0, 1). asked_s: what the receiver asked for, taken up to LONGEST_S.

    5, 10, 20 … s up to 4 h, each a quarter more or less: 16 attempts take about 18 hours.
    """
    wait = min(FIRST_S * 2.0 ** min(attempts - 1, 30), LONGEST_S)
    return max(wait * (1 + JITTER * (2 * chance - 1)), min(asked_s, LONGEST_S))
