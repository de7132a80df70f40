"""One hub process on a database without Redis: a second would not see what the first one knows.

On SQLite that is held by a lock on a file beside the database, which the system frees with the process however that
ends. Two machines, or two processes on one PostgreSQL without Redis, cannot be noticed here: docs/operating.md says so.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.conf import settings


class AlreadyRunning(RuntimeError):
    pass


def lock_path() -> Path | None:
    """None where several processes may share the database."""
    if settings.REDIS_URL or not settings.ON_SQLITE:
        return None
    database = Path(settings.DATABASES["default"]["NAME"]).resolve()  # one file by another name is the same database
    return database.with_name(f"{database.name}.lock")


@contextmanager
def only_process() -> Iterator[None]:
    """Hold the lock for the block; AlreadyRunning where another process has it."""
    path = lock_path()
    if path is None:
        yield
        return
    with path.open("a") as file:
        _take(file, path)
        yield


def _take(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(
            f"a hub runs on this database already ({path.name} is locked); several processes need REDIS_URL"
        ) from None
