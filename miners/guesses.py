"""Who guesses at api keys: wrong ones are counted, and whoever has sent too many waits.

Promises. From one address at one miner id, RATELIMIT_WRONG_KEY wrong keys pass; from one address at whatever ids, ten
times as many. At one miner id from all addresses together, also ten times as many: from then on an address that has
sent a wrong key has had its only guess. Nobody else's guesses keep a miner with the right key out, unless they come
from its own address; and a key that this process has seen to be right is not asked. Where registrations of an address
are not limited (RATELIMIT_REGISTER is empty), nothing is counted, for waiting would limit them.

Counts are shared through the cache, as all rate limits are. That somebody has to wait is known to the process that
said so: another one learns it from the next wrong key, so the way of a right key costs no question to the cache.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from poolhub.common import ratelimit
from poolhub.common.errors import TooManyRequests, Unauthorized
from poolhub.common.network import rate_key

TIMES = 10
MAX_WAITING = 10_000

_lock = threading.Lock()
_waiting: OrderedDict[tuple[str, str], float] = OrderedDict()  # (address, miner id or "" for all) -> until, monotonic


@contextmanager
def counted(address: str, miner_id: str | None = None) -> Iterator[None]:
    """Around what looks at a key: raises TooManyRequests before it where the address has to wait, and counts it where
    it ends in Unauthorized."""
    rate = settings.RATELIMIT_WRONG_KEY if settings.RATELIMIT_ENABLE and settings.RATELIMIT_REGISTER else ""
    caller, named = rate_key(address), miner_id or ""
    if rate:
        _refuse_waiting(caller, named)
    try:
        yield
    except Unauthorized:
        if rate:
            _count(caller, named, rate)
        raise


def forget() -> None:
    """For tests, which share a process."""
    with _lock:
        _waiting.clear()


def _refuse_waiting(caller: str, miner_id: str) -> None:
    now = time.monotonic()
    for key in dict.fromkeys(((caller, ""), (caller, miner_id))):
        until = _waiting.get(key, 0.0)
        if until > now:
            raise _too_many(int(until - now) + 1)


def _count(caller: str, miner_id: str, rate: str) -> None:
    number, _, period = rate.partition("/")
    many = f"{int(number) * TIMES}/{period}"
    counts = [("address", caller, many, "")]
    if miner_id:  # which may look like an address, so that each kind counts for itself
        counts += [("pair", f"{caller} {miner_id}", rate, miner_id), ("miner", f"id {miner_id}", many, miner_id)]
    wait_s = 0
    for kind, counter, allowed, at in counts:
        try:
            ratelimit.check_address(counter, group=f"wrong_key_{kind}", rate=allowed)
        except TooManyRequests as over:
            _have_wait((caller, at), over.retry_after_sec)
            wait_s = max(wait_s, over.retry_after_sec)
    if wait_s:
        raise _too_many(wait_s)


def _have_wait(key: tuple[str, str], seconds: int) -> None:
    with _lock:
        _waiting[key] = time.monotonic() + seconds
        _waiting.move_to_end(key)
        if len(_waiting) > MAX_WAITING:
            _waiting.popitem(last=False)


def _too_many(wait_s: int) -> TooManyRequests:
    return TooManyRequests("Too many wrong api keys from this address.", retry_after_sec=wait_s)
