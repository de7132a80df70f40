from collections.abc import MutableMapping
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer

UNKNOWN_PATH = 4404


class UnknownPath(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """Any path that is no socket's. Accepted first: before that, a server answers 403 and the code is lost."""

    async def websocket_connect(self, message: MutableMapping[str, Any]) -> None:
        await self.send({"type": "websocket.accept"})
        await self.send({"type": "websocket.close", "code": UNKNOWN_PATH})

    async def websocket_receive(self, message: MutableMapping[str, Any]) -> None:
        """What was under way when the socket was closed."""

    async def websocket_disconnect(self, message: MutableMapping[str, Any]) -> None:
        raise StopConsumer
