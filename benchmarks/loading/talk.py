"""A client of the load run is a process of its own: an event loop that `processes.Child` tells a command a line.

Every command is a coroutine, and several may be under way; answers come in the order of the commands.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping

import uvloop

Commands = Mapping[str, Callable[..., Awaitable[object]]]


def serve(commands: Callable[[], Commands]) -> None:
    uvloop.run(_serve(commands))


async def _serve(made: Callable[[], Commands]) -> None:
    lines = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    commands = made()
    while line := await lines.readline():
        name, *arguments = json.loads(line)
        answer = await commands[name](*arguments)
        print(json.dumps(answer), flush=True)
