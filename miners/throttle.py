"""How many messages a miner may send, over its socket or over HTTP; pure."""

import threading
from collections import OrderedDict

MESSAGES_PER_S, BURST = 10.0, 50.0  # over its socket
REQUESTS_PER_S, REQUEST_BURST = 50.0, 500.0  # over HTTP, for which api.md names no limit: what nobody needs
MAX_CALLERS = 100_000


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


class TokenBuckets:
    """One bucket a name, of the last `size` names; one that was dropped begins anew. Safe to be used by threads."""

    def __init__(self, rate_per_s: float, burst: float, *, size: int) -> None:
        self._rate_per_s, self._burst, self._size = rate_per_s, burst, size
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def clear(self) -> None:
        with self._lock:
            self._buckets.clear()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now: float) -> bool:
        with self._lock:
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = self._buckets[name] = TokenBucket(self._rate_per_s, self._burst, now=now)
                if len(self._buckets) > self._size:
                    self._buckets.popitem(last=False)
            self._buckets.move_to_end(name)
            return bucket.take(now)


callers = TokenBuckets(REQUESTS_PER_S, REQUEST_BURST, size=MAX_CALLERS)  # miners, over HTTP
