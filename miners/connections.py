"""The open heartbeat sockets of this process, one a miner: the door through which services close them.

`end()` may be called from any thread. It only asks: the socket's own event loop closes it, after which nothing that
still arrives on it is applied.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

ENDED = 4401
DISABLED = 4403
REPLACED = 4409
TOO_LARGE = 4413
TOO_MANY = 4429
INVALID = 4400
RESTART = 4012


@dataclass(frozen=True, slots=True)
class Command:
    """As a miner is told it."""

    id: UUID
    name: str
    args: dict[str, object]


class Socket(Protocol):
    miner_id: str
    session: int
    opened_at: float  # epoch seconds
    loop: asyncio.AbstractEventLoop

    def end(self, code: int) -> None:
        """Close with this code; called on the socket's own loop, and harmless when it is closed already."""

    def pace(self) -> None:
        """Tell the miner its rhythm; called on the socket's own loop."""

    def command(self, commands: Sequence[Command]) -> None:
        """Tell the miner those that it was not told over this socket yet; called on the socket's own loop."""


_lock = threading.Lock()
_open: dict[str, Socket] = {}


def add(socket: Socket) -> None:
    """Take a socket in; an older one of the same miner is closed as replaced."""
    with _lock:
        older = _open.get(socket.miner_id)
        _open[socket.miner_id] = socket
    if older is not None:
        _ask(older, REPLACED)


def discard(socket: Socket) -> None:
    with _lock:
        if _open.get(socket.miner_id) is socket:
            del _open[socket.miner_id]


def replace(miner_id: str, *, opened_before: float) -> None:
    """Close the miner's socket where another process has a newer one."""
    with _lock:
        socket = _open.get(miner_id)
    if socket is not None and socket.opened_at < opened_before:
        _ask(socket, REPLACED)


def end(miner_id: str, code: int, *, before: int | None = None) -> None:
    """Close the miner's socket; with `before` only one whose session is older than that."""
    with _lock:
        socket = _open.get(miner_id)
    if socket is not None and (before is None or socket.session < before):
        _ask(socket, code)


def end_all(code: int = RESTART) -> int:
    """Close every socket, for a stop of this process; how many there were."""
    with _lock:
        sockets = list(_open.values())
    for socket in sockets:
        _ask(socket, code)
    return len(sockets)


def pace_all() -> int:
    """Have every socket tell its miner the rhythm; how many there were."""
    with _lock:
        sockets = list(_open.values())
    for socket in sockets:
        _call(socket, socket.pace)
    return len(sockets)


def command(miner_id: str, commands: Sequence[Command]) -> None:
    """Have the miner's socket tell it these, where it is in this process."""
    with _lock:
        socket = _open.get(miner_id)
    if socket is not None:
        _call(socket, socket.command, commands)


def has(miner_id: str) -> bool:
    with _lock:
        return miner_id in _open


def miners() -> set[str]:
    """Whose sockets are in this process."""
    with _lock:
        return set(_open)


def count() -> int:
    with _lock:
        return len(_open)


def _ask(socket: Socket, code: int) -> None:
    _call(socket, socket.end, code)


def _call(socket: Socket, what: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop has closed, and its sockets with it
        socket.loop.call_soon_threadsafe(what, *args)
