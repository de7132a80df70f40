"""How many messages a socket may send; pure."""


class TokenBucket:
    """`rate_per_s` sustained, `burst` at once. The clock may step back: that gives nothing and takes nothing."""

    __slots__ = ("_at", "_burst", "_left", "_rate_per_s")

    def __init__(self, rate_per_s: float, burst: float, *, now: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        """One message more; False where it is one too many."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate_per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
