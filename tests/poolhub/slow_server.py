"""The embedded server around an application that reads none of a socket's messages before GET /go.

``python -m tests.poolhub.slow_server`` prints its port. A message "count" is answered with how many came before it, and
"flood N" with N messages of FLOOD_BYTES; GET /sent tells how many of them the server has taken.
"""

import asyncio
from typing import Any

import django

django.setup()

from daphne import server as _reactor  # noqa: E402, F401 - the first import of Twisted's reactor chooses its loop

from poolhub.server import HubServer, endpoint_of  # noqa: E402

FLOOD_BYTES = 50_000
go = asyncio.Event()
sent: list[int] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        go.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(sent)).encode()})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await go.wait()
    read = 0
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "count":
            await send({"type": "websocket.send", "text": str(read)})
        if (text := message.get("text") or "").startswith("flood "):
            for _ in range(int(text.removeprefix("flood "))):
                await send({"type": "websocket.send", "text": "x" * FLOOD_BYTES})
                sent.append(FLOOD_BYTES)
        read += 1


if __name__ == "__main__":
    HubServer(application, endpoint=endpoint_of("127.0.0.1", 0), ready=lambda port: print(port, flush=True)).run()  # noqa: T201
