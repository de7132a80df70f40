"""The one way to a Redis client: quick to give up, since a plain one retries a dead port for seconds."""

from functools import cache

from django.conf import settings
from redis import Redis


@cache
def client() -> Redis:
    """One client a process, with its own pool. Only where REDIS_URL is set."""
    return Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)
