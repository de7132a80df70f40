"""A hub that says what a test has it say, over real HTTP and real sockets: what the true one says only when it is
overloaded, or when an operator is quick."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

Message = dict[str, Any]


class Gone(Exception):
    """The miner has closed the socket."""


class Peer:
    """The hub's end of a miner's socket."""

    def __init__(self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        self._receive, self._send = receive, send

    async def say(self, text: str = "", **message: Any) -> None:
        await self._send({"type": "websocket.send", "text": text or json.dumps(message)})

    async def welcome(self, rhythm_s: float) -> None:
        await self.say(type="welcome", miner_id="seed-00001", next_heartbeat_sec=rhythm_s, lease_ttl_sec=60)

    async def heard(self) -> Message:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise Gone
        said: Message = json.loads(event["text"])
        return said

    async def close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code})


Script = Callable[[Peer], Awaitable[None]]
Answer = tuple[int, dict[str, str], object]


class ScriptedHub:
    """Sockets meet the scripts one after another, registrations the answers; without one a token: token-1, token-2 …"""

    def __init__(self, *scripts: Script, answers: list[Answer] | None = None) -> None:
        self.scripts, self.answers = list(scripts), list(answers or [])
        self.requests: list[tuple[float, str, Message]] = []  # when, path, body
        self.tokens: list[str] = []
        self.issued = 0
        self.faults: list[BaseException] = []
        self.over = asyncio.Event()  # the last script has ended, or one has failed

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._meet(scope, receive, send)

    async def _answer(self, scope: Message, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        self.requests.append((asyncio.get_running_loop().time(), scope["path"], json.loads(body or b"{}")))
        if scope["path"] == "/v1/miners/register":
            status, headers, told = self.answers.pop(0) if self.answers else self._token()
        else:
            status, headers, told = 200, {}, {}
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    def _token(self) -> Answer:
        self.issued += 1
        return 201, {}, {"session_token": f"token-{self.issued}"}

    async def _meet(self, scope: Message, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        self.tokens.append(dict(scope["headers"])[b"authorization"].decode().removeprefix("Bearer "))
        try:
            await self.scripts.pop(0)(Peer(receive, send))
        except Exception as fault:  # noqa: BLE001 - raised in the test, below
            self.faults.append(fault)
        if self.faults or not self.scripts:
            self.over.set()


@asynccontextmanager
async def serving(hub: ScriptedHub) -> AsyncIterator[str]:
    """Its URL. A script that failed fails the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(hub, lifespan="off", ws="websockets-sansio", log_config=None, log_level="critical")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
    if hub.faults:
        raise hub.faults[0]
