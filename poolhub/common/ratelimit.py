"""Rate limits by client address, on django-ratelimit.

Shared through the Redis cache; without Redis each process counts for itself. The window is fixed, so up to twice the
rate may pass around its edge. A cache that fails lets the request through: it is logged once and counted.
"""

import logging

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError

from poolhub.common.errors import TooManyRequests
from poolhub.common.metrics import RATELIMIT_UNCHECKED
from poolhub.common.network import rate_key, request_address

logger = logging.getLogger(__name__)

NO_REQUEST = HttpRequest()  # django-ratelimit reads nothing of it: every method counts, and the key is given

_failing: set[str] = set()


def check(request: HttpRequest, *, group: str, rate: str) -> None:
    """Count this request in ``group``; raise ``TooManyRequests`` over ``rate`` (like ``50/s``; empty is off)."""
    if rate and settings.RATELIMIT_ENABLE:
        check_address(request_address(request), group=group, rate=rate)


def check_address(address: str, *, group: str, rate: str) -> None:
    """As check(), for a caller without a request."""
    if not rate or not settings.RATELIMIT_ENABLE:
        return
    key = rate_key(address)
    try:
        usage = get_usage(NO_REQUEST, group=group, key=lambda _group, _request: key, rate=rate, increment=True)
    except (RedisError, OSError) as exc:
        RATELIMIT_UNCHECKED.labels(group=group).inc()
        if group not in _failing:
            _failing.add(group)
            logger.warning("The rate limit of %s is off while the cache fails: %s", group, exc)
        return
    if group in _failing:
        _failing.discard(group)
        logger.warning("The rate limit of %s is on again", group)
    if usage is None or not usage["should_limit"]:
        return
    if not usage["limit"]:  # the cache evicted the counter between two steps, which django-ratelimit takes for "over"
        RATELIMIT_UNCHECKED.labels(group=group).inc()
        return
    raise TooManyRequests(f"Over {rate} for this address.", retry_after_sec=usage["time_left"] + 1)
