"""The registry's events on the bus: rows, removals and sockets, as every process applies them.

A row travels whole with its version, so that it may come twice or late. What it means for open sockets follows from it
in each process: those of a disabled miner, or of a session that has ended, are closed.
"""

import msgspec
from django.conf import settings
from msgspec import Struct
from redis import Redis

from miners import connections
from miners.registry import loader
from miners.registry.bus import BLOCK_MS, Bus
from miners.registry.records import MinerRow
from miners.registry.store import Registry
from poolhub.common import clock, redis

ROW, REMOVAL, SOCKET = "row", "removal", "socket"


class RowEvent(Struct, array_like=True):
    row: MinerRow
    now: float  # epoch seconds at the writer
    last_seen: float | None  # a contact that came with it


class RemovalEvent(Struct, array_like=True):
    miner_id: str
    pk: int


class SocketEvent(Struct, array_like=True):
    """A socket that was opened: older ones of the same miner are replaced by it."""

    miner_id: str
    opened_at: float


_rows = msgspec.msgpack.Decoder(RowEvent)
_removals = msgspec.msgpack.Decoder(RemovalEvent)
_sockets = msgspec.msgpack.Decoder(SocketEvent)
encode = msgspec.msgpack.Encoder().encode


def connect(patience_s: float = BLOCK_MS / 1000 + 1.0) -> Redis:
    """A client of its own for a thread that may wait, for the stream or for much at once."""
    options = {**settings.REDIS_OPTIONS, "socket_timeout": patience_s}
    return Redis.from_url(settings.REDIS_URL, **options)


def bus_of(registry: Registry) -> Bus:
    """A bus that keeps this registry in step, not yet started."""
    bus = Bus(registry, connect, lambda: recover(registry), asking=redis.client)
    bus.on(ROW, lambda payload: _apply_row(registry, payload))
    bus.on(REMOVAL, lambda payload: _apply_removal(registry, payload))
    bus.on(SOCKET, _apply_socket)
    return bus


def recover(registry: Registry) -> int:
    """Take every row that the database has newer; how many."""
    now, count = clock.now(), 0
    for row, last_seen in loader.stale_rows(registry, now=now):
        row_take(registry, row, now=now, last_seen=last_seen)
        count += 1
    return count


def row_take(registry: Registry, row: MinerRow, *, now: float, last_seen: float | None) -> None:
    registry.upsert(row, now=now, last_seen=last_seen)
    if row.disabled:
        connections.end(row.miner_id, connections.DISABLED)
    else:
        connections.end(row.miner_id, connections.ENDED, before=row.session)


def _apply_row(registry: Registry, payload: bytes) -> None:
    told = _rows.decode(payload)
    row_take(registry, told.row, now=told.now, last_seen=told.last_seen)


def _apply_removal(registry: Registry, payload: bytes) -> None:
    told = _removals.decode(payload)
    registry.remove(told.miner_id, pk=told.pk)
    connections.end(told.miner_id, connections.ENDED)


def _apply_socket(payload: bytes) -> None:
    told = _sockets.decode(payload)
    connections.replace(told.miner_id, opened_before=told.opened_at)
