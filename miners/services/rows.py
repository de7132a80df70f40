"""How a miner's durable row changes: locked, in one UPDATE with the next version, and in the registry after commit.

Two changes of one miner never mix, since each holds the row's lock from its reading on (SQLite: the one write lock).
The registry orders by version, so it does not matter which of two commits reaches it first.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from django.db import transaction

from miners.models import Miner
from miners.registry import runtime
from miners.registry.loader import miner_row
from poolhub.common import clock
from poolhub.common.errors import NotFound


@contextmanager
def changing() -> Iterator[None]:
    """A transaction of the database, begun only once the registry is there: it must load nothing uncommitted."""
    runtime.get_registry()
    with transaction.atomic():
        yield


def miner_lock(miner_id: str) -> Miner | None:
    """The miner's row, locked until the end of the caller's transaction."""
    return Miner.objects.select_for_update().filter(miner_id=miner_id).first()


def miner_lock_known(miner_id: str) -> Miner:
    miner = miner_lock(miner_id)
    if miner is None:
        raise NotFound(f"no miner {miner_id}")
    return miner


def miner_save(miner: Miner, changes: Mapping[str, object], *, last_seen: float | None = None) -> None:
    """Write the changes of a locked miner; one that changes nothing writes nothing."""
    changed = [name for name, value in changes.items() if getattr(miner, name) != value]
    if not changed:
        return
    for name in changed:
        setattr(miner, name, changes[name])
    miner.version += 1
    miner.save(update_fields=[*changed, "version"])
    miner_publish(miner, last_seen=last_seen)


def miner_republish(miner: Miner) -> None:
    """A new version of a locked miner's row, for what has changed beside it."""
    miner.version += 1
    miner.save(update_fields=["version"])
    miner_publish(miner)


def miner_publish(miner: Miner, *, last_seen: float | None = None) -> None:
    """Have the registry take the row as it is now, once it is committed."""
    transaction.on_commit(partial(runtime.row_tell, miner_row(miner), now=clock.now(), last_seen=last_seen))
