"""Many live mock miners in one process.

They run until `stop` is set or the hub wants none of them any more. Then their sockets close; logged out they are only
where that is asked for, else the hub finds them silent, as it would where their machines had lost power.
"""

import asyncio
import resource
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from miners.seeding.hub import REGISTERING, Hub
from miners.seeding.miner import MockMiner
from miners.seeding.population import MinerSpec
from miners.seeding.tally import Tally, Watch

HUB_LIMIT_S = 30.0
LOOK_AGAIN_S = 0.5
LOGOUT_LIMIT_S = 60.0
TICK_S = 1.0
MAX_LIVE = 25_000  # one address has about 28,000 ports to call one hub from
OTHER_FILES = 64 + REGISTERING


class CannotRun(Exception):
    pass


async def fleet_run(
    *, specs: Sequence[MinerSpec], base: str, stop: asyncio.Event, watch: Watch, logout: bool = False
) -> None:
    """CannotRun where no hub answers at `base`, or it wants none of the miners."""
    rng = Random()  # noqa: S311 - jitter and mock load
    tally = Tally(len(specs), watch)
    async with Hub(base, rng=rng) as hub:
        await _found(hub, base, stop, watch)
        if stop.is_set():
            return
        miners = [MockMiner(spec, hub, tally, rng) for spec in specs]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(miner.run()) for miner in miners]
            try:
                await _watched(tally, stop, watch)
            finally:
                for task in tasks:
                    task.cancel()
        if tally.stopped == tally.total:
            raise CannotRun(f"the hub wants none of the miners: {tally.reasons.most_common(1)[0][0]}")
        if logout:
            await _logged_out(hub, miners, watch)


def allow_sockets(count: int) -> None:
    """Have the system let this process open so many; CannotRun where it does not."""
    if count > MAX_LIVE:
        raise CannotRun(f"one process holds at most {MAX_LIVE:,} live miners, not {count:,}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if needed <= soft or soft == resource.RLIM_INFINITY:
        return
    if needed > hard != resource.RLIM_INFINITY:
        raise CannotRun(f"{count:,} sockets need {needed:,} open files, and ulimit -Hn allows {hard:,}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _found(hub: Hub, base: str, stop: asyncio.Event, watch: Watch) -> None:
    """Wait for a hub that may just be starting."""
    loop = asyncio.get_running_loop()
    end, told = loop.time() + HUB_LIMIT_S, False
    while not stop.is_set():
        trouble = await hub.trouble()
        if trouble is None:
            return
        if loop.time() >= end:
            raise CannotRun(f"no hub answers at {base}: {trouble}")
        if not told:
            watch.say(f"no hub answers at {base} yet; waiting up to {HUB_LIMIT_S:g} s")
            told = True
        await _pause(stop, LOOK_AGAIN_S)


async def _watched(tally: Tally, stop: asyncio.Event, watch: Watch) -> None:
    while not stop.is_set() and tally.stopped < tally.total:
        await _pause(stop, TICK_S)
        if tally.live:
            watch.tick(tally)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def _logged_out(hub: Hub, miners: Sequence[MockMiner], watch: Watch) -> None:
    tokens = [miner.token for miner in miners if miner.token is not None]
    gone = 0

    async def leave(token: str) -> None:
        nonlocal gone
        if await hub.logout(token):
            gone += 1

    with suppress(TimeoutError):
        async with asyncio.timeout(LOGOUT_LIMIT_S), asyncio.TaskGroup() as group:
            for token in tokens:
                group.create_task(leave(token))
    watch.say(f"{gone:,} of {len(tokens):,} miners logged out")
