"""HTTP/1.1 over connections that stay open, for a client that must cost little: one request at a time on each."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
NO_BODY = 204


@dataclass(frozen=True, slots=True)
class Answer:
    status: int  # 0: the connection ended before there was one
    head: bytes  # in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem."""
        try:
            return str(self.json()["code"])
        except (ValueError, KeyError, TypeError):
            return self.body[:80].decode(errors="replace") or "no answer"

    @property
    def retry_after_s(self) -> float | None:
        _, found, rest = self.head.partition(b"\r\nretry-after:")
        return float(rest.split(b"\r\n", 1)[0]) if found else None


GONE = Answer(0, b"", b"")
Done = Callable[[Answer], None]


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Whole; a body is JSON, or bytes of it."""
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(sent)}"]
    lines += ["Content-Type: application/json"] if sent else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + sent


class Connection(asyncio.Protocol):
    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._got = b""
        self._head_ends = self._length = -1
        self._done: Done | None = None
        self.transport: asyncio.WriteTransport | None = None

    def send(self, data: bytes, done: Done) -> None:
        self._got, self._head_ends, self._done = b"", -1, done
        assert self.transport is not None
        self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is of no class of asyncio

    def data_received(self, data: bytes) -> None:
        self._got = self._got + data if self._got else data
        if self._head_ends < 0:
            self._head_ends = self._got.find(HEAD_END)
            if self._head_ends < 0:
                return
            head = self._got[: self._head_ends].lower()
            at = head.find(LENGTH)
            self._length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._got) < self._head_ends + len(HEAD_END) + self._length:
            return
        head, body = self._got[: self._head_ends].lower(), self._got[self._head_ends + len(HEAD_END) :]
        done, self._done = self._done, None
        stays = b"\r\nconnection: close" not in head
        if not stays and self.transport is not None:
            self.transport.close()
        if done is not None:
            done(Answer(int(head[9:12]), head, body))
        if stays:
            self._pool.is_free(self)

    def connection_lost(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        self.transport = None
        self._pool.is_gone(self)
        if done is not None:
            done(GONE)


class Pool:
    """Sends at once while a connection is free or may be opened; what finds none waits in turn."""

    def __init__(self, port: int, most: int) -> None:
        self.port, self.most = port, most
        self._free: list[Connection] = []
        self._opened = 0
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, data: bytes, done: Done) -> None:
        while self._free:
            connection = self._free.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.send(data, done)
                return
        self._waiting.append((data, done))
        self._open()

    async def ask(self, data: bytes) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.send(data, lambda answer: answered.done() or answered.set_result(answer))
        return await answered

    def is_free(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)

    def is_gone(self, connection: Connection) -> None:
        self._opened -= 1
        if connection in self._free:
            self._free.remove(connection)
        if self._waiting:
            self._open()

    def close(self) -> None:
        self._waiting.clear()
        for each in self._free:
            if each.transport is not None:
                each.transport.abort()

    def _open(self) -> None:
        if self._opened < self.most:
            self._opened += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self.port
            )
        except OSError:
            self._opened -= 1
            if self._waiting:
                self._waiting.popleft()[1](GONE)
        else:
            self.is_free(made)
