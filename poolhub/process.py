"""How a serving process begins and ends, whichever server it belongs to.

Promises: the registry is loaded before the first request where the database answers; at a clean stop, after the last
answer, what waits is written and published. A process that is killed loses what waited: the last second of reports.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from multiprocessing.util import Finalize
from typing import Any

from django.db import DatabaseError, connection
from psycopg_pool import PoolTimeout

from miners.registry import runtime
from poolhub import otel
from poolhub.common.postgres import patience

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]


def begin(*, serves: bool = True) -> None:
    """Load the registry; where the database is away, the first request that needs it tries again. Tracing begins.

    serves: requests wait here, which must not wait for a database that stands still.
    """
    patience.serve(impatient=serves)
    otel.begin()
    try:
        runtime.get_registry()
    except (DatabaseError, PoolTimeout, OSError) as error:
        logger.warning("the registry is not loaded yet, the database does not answer: %s", error)
    finally:
        connection.close()
        # what is loaded stays: to look through all of it again and again stops a process for 50 ms and more
        gc.collect()
        gc.freeze()


def end() -> None:
    runtime.stop()
    otel.end()


def end_with_worker() -> None:
    """Have a worker process of a WSGI server end cleanly.

    Such workers are made by multiprocessing, which leaves them by os._exit: atexit never runs there, finalizers do.
    """
    Finalize(None, end, exitpriority=1)


class Lifespan:
    """ASGI's lifespan, which a server of sockets waits for at both ends."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await asyncio.to_thread(begin)
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(end)
                await send({"type": "lifespan.shutdown.complete"})
                return
