"""All miners of a load run in one process: they register, hold their sockets, report, leave and come.

python -m benchmarks.loading.crowd PORT SEED, asked by lines of JSON (`talk`). Each miner comes from one of some
addresses of loopback, as nginx counts connections by address.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.loading import sums
from benchmarks.loading.http import Answer, Pool, request
from benchmarks.loading.sockets import REFUSED, MinerSocket
from benchmarks.loading.talk import Commands, serve
from miners.seeding.population import MinerSpec, population

ADDRESSES = 16
CALLS_AT_ONCE = 64  # of registrations and logouts
OPENING_AT_ONCE = 200
COMES_BACK = {1012: 5.0, 4012: 5.0}  # the contract: after a random time of up to so many seconds
PATIENCE_S = 120.0
TRIES_S = (0.5, 1.5)  # how long a miner waits after a refusal that names no time, times its tries
REGISTERED, KNOWN = 201, 200
ENDED = 4401  # of a token: the miner registers again
FULL, BUSY = 503, 429


@dataclass(slots=True)
class Member:
    spec: MinerSpec
    number: int
    token: str = ""
    socket: MinerSocket | None = None
    leaves: bool = False
    tries: int = 0
    asked_at: float = 0.0


@dataclass(slots=True)
class Told:
    """Since it was last told."""

    beats: int = 0
    acks_ms: list[float] = field(default_factory=list)
    register_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    opening_ms: list[float] = field(default_factory=list)  # from the attempt to the welcome
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Crowd:
    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.dice = Random(seed)
        self.pool = Pool(port, CALLS_AT_ONCE)
        self.specs = population(1_000_000, seed=seed)
        self.members: dict[str, Member] = {}
        self.open = 0
        self.told = Told()
        self.all_acks_ms: list[float] = []
        self.beats = 0
        self.made = 0
        self._calling, self._opening = asyncio.Semaphore(CALLS_AT_ONCE), asyncio.Semaphore(OPENING_AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._churning: asyncio.Task[None] | None = None

    def commands(self) -> Commands:
        return {
            name: getattr(self, name)
            for name in ("enrol", "churn", "calm", "tell", "herd", "rush", "close", "slots")
        }  # fmt: skip

    # ---- commands

    async def enrol(self, count: int, at_once: int) -> dict[str, Any]:
        """So many more miners register and open their sockets, some at a time; when all have been welcomed."""
        begun, goal = time.perf_counter(), self.open + count
        for first in range(0, count, at_once):
            for _ in range(first, min(count, first + at_once)):
                self._start(self._join(self._new()))
            await self._until_open(goal - max(0, count - first - at_once))
        return {"seconds": time.perf_counter() - begun, "open": self.open}

    async def churn(self, per_min: float) -> None:
        self._churning = self._start(self._churn(per_min))

    async def calm(self) -> dict[str, int]:
        """No more churn, and what is under way has ended."""
        if self._churning is not None:
            self._churning.cancel()
            self._churning = None
        until = time.perf_counter() + PATIENCE_S
        while self._tasks and time.perf_counter() < until:
            await asyncio.wait(self._tasks, timeout=1.0)  # they may start others
        return {"under_way": len(self._tasks)}

    async def herd(self) -> dict[str, Any]:
        """Every socket breaks at once, and every miner opens another at once; when all have been welcomed."""
        return await self._all_again(self._connect)

    async def rush(self) -> dict[str, Any]:
        """The same, and every miner registers again first."""
        return await self._all_again(self._rejoin)

    async def tell(self) -> dict[str, Any]:
        told, self.told = self.told, Told()
        self.all_acks_ms += told.acks_ms
        return {
            "open": self.open,
            "made": self.made,
            "beats": told.beats,
            "all_beats": self.beats,
            "ack": sums.percentiles(told.acks_ms),
            "all_acks": sums.percentiles(self.all_acks_ms),
            "register": sums.percentiles(told.register_ms),
            "opening": sums.percentiles(told.opening_ms),
            "refused": sums.percentiles(told.refused_ms),
            "counts": told.counts,
            "errors": told.errors,
            "processor_s": time.process_time(),
        }

    async def slots(self) -> dict[str, int]:
        """max_parallel of every miner there has been."""
        return {f"seed-{each:05d}": spec.max_parallel for each, spec in enumerate(self._all(), start=1)}

    async def close(self) -> None:
        for member in self.members.values():
            if member.socket is not None:
                member.socket.abort()
        self.members.clear()
        self.pool.close()

    # ---- what the sockets tell; one Tie each binds a socket to its miner

    def ended(self, member: Member, code: int) -> None:
        if member.socket is not None:
            member.socket = None
            self.open -= 1
        if member.leaves:
            self.told.counts["left"] += 1
            return
        if code == REFUSED:
            self.told.counts["opening refused"] += 1
        elif code in COMES_BACK:
            self.told.counts[f"closed with {code}"] += 1
        else:
            self.told.errors[f"socket closed with {code}"] += 1
        member.tries += 1
        come_back = self._rejoin if code == ENDED else self._connect
        self._start(come_back(member, self._pause_s(member, COMES_BACK.get(code))))

    # ---- inside

    async def _all_again(self, come_back: Callable[[Member], Coroutine[Any, Any, None]]) -> dict[str, Any]:
        begun = time.perf_counter()
        for member in self.members.values():
            if member.socket is not None:
                member.socket.abort()
                member.socket = None
        self.open = 0
        for member in list(self.members.values()):
            self._start(come_back(member))
        await self._until_open(len(self.members))
        return {"seconds": time.perf_counter() - begun, "open": self.open}

    def _all(self) -> Any:
        return population(self.made, seed=int(sys.argv[2]))

    def _new(self) -> Member:
        self.made += 1
        return Member(next(self.specs), self.made)

    async def _join(self, member: Member) -> None:
        if await self._register(member):
            self.members[member.spec.miner_id] = member
            await self._connect(member)

    async def _rejoin(self, member: Member, pause_s: float = 0.0) -> None:
        await asyncio.sleep(pause_s)
        if not member.leaves and await self._register(member):
            await self._connect(member)

    async def _register(self, member: Member) -> bool:
        data = request("POST", "/v1/miners/register", member.spec.body())
        until = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < until:
            async with self._calling:  # whoever waits here has not asked yet
                begun = time.perf_counter()
                answer = await self.pool.ask(data)
            took_ms = (time.perf_counter() - begun) * 1e3
            if answer.status in (REGISTERED, KNOWN):
                member.token = answer.json()["session_token"]
                self.told.register_ms.append(took_ms)
                self.told.counts["registered"] += 1
                return True
            if not self._may_try_again(answer, "register", took_ms):
                return False
            member.tries += 1
            await asyncio.sleep(self._pause_s(member, None, answer.retry_after_s))
        self.told.errors["register: never"] += 1
        return False

    def _may_try_again(self, answer: Answer, what: str, took_ms: float) -> bool:
        if answer.status in (FULL, BUSY) and answer.retry_after_s is not None:
            self.told.counts[f"{what} refused: {answer.status} {answer.code}"] += 1
            self.told.refused_ms.append(took_ms)
            return True
        self.told.errors[f"{what}: {answer.status} {answer.code}"] += 1
        return False

    async def _connect(self, member: Member, pause_s: float = 0.0) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        if member.leaves:
            return
        member.asked_at = time.perf_counter()
        address = f"127.0.0.{2 + member.number % ADDRESSES}"
        async with self._opening:
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: MinerSocket(Tie(self, member), member.token, self.dice.random),
                    "127.0.0.1",
                    self.port,
                    local_addr=(address, 0),
                )
            except OSError as error:
                self.told.errors[f"connect: {type(error).__name__}"] += 1
                member.tries += 1
                self._start(self._connect(member, self._pause_s(member)))

    async def _churn(self, per_min: float) -> None:
        gap_s, due = 60 / per_min, time.perf_counter()
        while True:
            due += gap_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            member = self.members.pop(self.dice.choice(list(self.members)))
            member.leaves = True
            if self.dice.random() < 0.5:
                self._start(self._log_out(member))
            else:
                self._vanish(member)
            self._start(self._join(self._new()))

    def _vanish(self, member: Member) -> None:
        self.told.counts["vanished"] += 1
        if member.socket is not None:
            member.socket.abort()
            member.socket = None
            self.open -= 1

    async def _log_out(self, member: Member) -> None:
        answer = await self.pool.ask(
            request("POST", "/v1/miners/logout", Authorization=f"Bearer {member.token}")
        )  # fmt: skip
        if answer.status == 204:
            self.told.counts["logged out"] += 1  # the hub closes its socket
        elif not self._may_try_again(answer, "logout", 0.0):
            self._vanish(member)

    def _pause_s(self, member: Member, within_s: float | None = None, at_least_s: float | None = None) -> float:
        if within_s is not None:
            return self.dice.uniform(0, within_s)
        return (at_least_s or 0.0) + self.dice.uniform(*TRIES_S) * min(member.tries, 8)

    async def _until_open(self, goal: int) -> None:
        until = time.perf_counter() + PATIENCE_S
        while self.open < goal and time.perf_counter() < until:  # noqa: ASYNC110 - opened() runs often, this once
            await asyncio.sleep(0.02)

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@dataclass(frozen=True, slots=True)
class Tie:
    """The owner of one miner's socket."""

    crowd: Crowd
    member: Member

    def beat(self) -> None:
        self.crowd.beats += 1
        self.crowd.told.beats += 1

    def acked(self, ms: float) -> None:
        self.crowd.told.acks_ms.append(ms)

    def complained(self, text: str) -> None:
        self.crowd.told.errors[f"socket: {text[:80]}"] += 1

    def opened(self, socket: MinerSocket) -> None:
        if self.member.leaves:
            socket.abort()
            return
        self.member.socket, self.member.tries = socket, 0
        self.crowd.told.opening_ms.append((time.perf_counter() - self.member.asked_at) * 1e3)
        self.crowd.open += 1

    def ended(self, socket: MinerSocket, code: int) -> None:
        self.crowd.ended(self.member, code)


if __name__ == "__main__":
    serve(lambda: Crowd(int(sys.argv[1]), int(sys.argv[2])).commands())
