"""A miner's end of a socket, in process."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.testing import ApplicationCommunicator

from miners import connections
from miners.consumers import HeartbeatConsumer
from poolhub.common import clock


class Socket:
    """A miner's end of a socket."""

    consumer: Any = HeartbeatConsumer
    path = "/v1/miners/heartbeat"

    def __init__(self, token: str | None = None, *, header: str | None = None, query: str | None = None) -> None:
        query = query if query is not None else "" if token is None else f"session_token={token}"
        self._connect(query, [] if header is None else [(b"authorization", header.encode("latin-1"))])

    def _connect(
        self, query: str, headers: list[tuple[bytes, bytes]], client: tuple[str, int] = ("127.0.0.1", 1)
    ) -> None:
        scope = {
            "type": "websocket", "path": self.path, "query_string": query.encode(), "headers": headers, "client": client,
        }  # fmt: skip
        self.app = ApplicationCommunicator(self.consumer.as_asgi(), scope)

    async def open(self) -> dict[str, Any]:
        await self.app.send_input({"type": "websocket.connect"})
        assert await self.app.receive_output(5) == {"type": "websocket.accept"}
        return await self.receive()

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self.app.send_input({"type": "websocket.receive", "text": text})

    async def receive(self) -> dict[str, Any]:
        """The next message, or {"close": code}."""
        output = await self.app.receive_output(5)
        return {"close": output["code"]} if output["type"] == "websocket.close" else json.loads(output["text"])

    async def silent(self) -> bool:
        return await self.app.receive_nothing(0.05)

    async def leave(self) -> None:
        await self.app.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.app.wait(5)


def beat(shift: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"ts": clock.to_rfc3339(clock.now() + shift), "queue_len": 0, **fields}


def run(play: Callable[[Socket], Awaitable[None]], socket: Callable[[], Socket]) -> None:
    """Play on one open socket, which is left in the end."""

    async def main() -> None:
        each = socket()
        assert (await each.open())["type"] == "welcome"
        await play(each)
        await each.leave()
        assert connections.count() == 0

    asyncio.run(main())
