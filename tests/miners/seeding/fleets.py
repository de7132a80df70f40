"""Fleets for tests: run in this process beside a hub, watched, and stopped in the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from miners.seeding.fleet import fleet_run
from miners.seeding.population import MinerSpec, population
from miners.seeding.tally import Tally

LIMIT_S = 30.0


class Watcher:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.up = 0
        self.online: int | None = None  # when all were live
        self.tally: Tally | None = None

    def say(self, line: str) -> None:
        self.lines.append(line)

    def came_up(self) -> None:
        self.up += 1

    def live(self, online: int) -> None:
        self.online = online

    def tick(self, tally: Tally) -> None:
        self.tally = tally


def specs(count: int, seed: int = 1) -> list[MinerSpec]:
    return list(population(count, seed=seed))


async def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Its first true value. The condition may block for a moment: it is asked on a thread of its own."""
    async with asyncio.timeout(limit_s):
        while not (found := await asyncio.to_thread(condition)):  # noqa: ASYNC110 - what it asks sets no events
            await asyncio.sleep(0.05)
    return found


@asynccontextmanager
async def live_fleet(crowd: Sequence[MinerSpec], base: str, *, logout: bool = False) -> AsyncIterator[Watcher]:
    """A fleet that is up."""
    watcher, stop = Watcher(), asyncio.Event()
    running = asyncio.create_task(fleet_run(specs=crowd, base=base, stop=stop, watch=watcher, logout=logout))
    try:
        await until(lambda: watcher.online is not None or running.done())
        yield watcher
    finally:
        stop.set()
        await running
