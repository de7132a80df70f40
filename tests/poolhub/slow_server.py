"""The embedded server around an application that reads none of a socket's messages before GET /go.

``python -m tests.poolhub.slow_server`` prints its port. A message "count" is answered with how many came before it.
"""

import asyncio
from typing import Any

import django

django.setup()

from daphne import server as _reactor  # noqa: E402, F401 - the first import of Twisted's reactor chooses its loop

from poolhub.server import HubServer, endpoint_of  # noqa: E402

go = asyncio.Event()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        go.set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await go.wait()
    read = 0
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "count":
            await send({"type": "websocket.send", "text": str(read)})
        read += 1


if __name__ == "__main__":
    HubServer(application, endpoint=endpoint_of("127.0.0.1", 0), ready=lambda port: print(port, flush=True)).run()  # noqa: T201
