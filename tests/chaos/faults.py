"""The faults: how each is injected and lifted, and what it may do meanwhile."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.hub import Chaos, family, is_healthy
from tests.multiprocess.cluster import child_with, children, command_of
from tests.waiting import until

AT_ONCE_S, STOPPED_S, CUT_S, SLOW_S, FULL_S, MOVED_S = 0.0, 30.0, 15.0, 15.0, 20.0, 20.0
JUMP_S = 600

Act = Callable[[Chaos], object]


def nothing(_: Chaos) -> None:
    """It mends by itself: what was killed is started again by its supervisor."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inject: Act
    lift: Act
    lasts_s: float  # AT_ONCE_S: it is lifted as soon as it was injected
    cut: str = ""  # db or redis: what health must call down until the lift
    deaf: frozenset[str] = frozenset()  # parts that may not answer health meanwhile
    unsure: bool = False  # health may say either
    moved_clock: bool = False
    needs_disk: bool = False


def rest_worker(chaos: Chaos) -> int:
    rest = child_with(chaos.hub.process.pid, "granian")
    return next(pid for pid in children(rest) if "granian" in command_of(pid) or "spawn_main" in command_of(pid))


def socket_process(chaos: Chaos, number: int = 1) -> int:
    """0 while there is none."""
    port = chaos.hub.ports.sockets[number - 1]
    found = children(chaos.hub.process.pid)
    return next((pid for pid in found if f"\0--port\0{port}\0" in command_of(pid)), 0)


def worker(chaos: Chaos) -> int:
    return child_with(chaos.hub.process.pid, "manage.py\0worker")


def kill(find: Callable[[Chaos], int]) -> Act:
    return lambda chaos: os.kill(find(chaos), signal.SIGKILL)


class Stopped:
    """SIGSTOP to a part, SIGCONT to the same one."""

    def __init__(self, find: Callable[[Chaos], int]) -> None:
        self._find = find
        self._pids: list[int] = []

    def stop(self, chaos: Chaos) -> None:
        self._pids = family(self._find(chaos))
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self, _: Chaos) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)


def stopped(name: str, find: Callable[[Chaos], int], **options: object) -> Fault:
    it = Stopped(find)
    return Fault(name, it.stop, it.go_on, STOPPED_S, **options)  # type: ignore[arg-type]


def roll(chaos: Chaos) -> None:
    """As docs/deploying.md says it: granian reloads, then the socket processes one after another, then the worker.

    A part that ends on SIGTERM is started again by the cluster, as `systemctl restart` does it.
    """
    hub = chaos.hub
    rest = child_with(hub.process.pid, "granian")
    before = children(rest)
    os.kill(rest, signal.SIGHUP)
    until(lambda: {*children(rest)}.isdisjoint(before), 60, "the old workers have ended")
    for number, port in enumerate(hub.ports.sockets, start=1):
        old = socket_process(chaos, number)
        os.kill(old, signal.SIGTERM)
        until(lambda: socket_process(chaos, number) not in (0, old), 60, "it is started again")  # noqa: B023
        until(lambda: is_healthy(port), 60, "it answers again")  # noqa: B023
    os.kill(worker(chaos), signal.SIGTERM)


REST, FIRST_SOCKET = frozenset({"rest"}), frozenset({"socket-1"})

ALL = (
    Fault("kill -9 of a REST worker", kill(rest_worker), nothing, AT_ONCE_S, deaf=REST),
    Fault("kill -9 of a socket process", kill(socket_process), nothing, AT_ONCE_S, deaf=FIRST_SOCKET),
    Fault("kill -9 of the worker", kill(worker), nothing, AT_ONCE_S),
    Fault("kill -9 of PostgreSQL", lambda chaos: chaos.postgres.kill(), nothing, AT_ONCE_S),
    Fault("kill -9 of Valkey", lambda chaos: chaos.valkey.kill(), nothing, AT_ONCE_S),
    Fault("kill -9 of Valkey, data lost", lambda chaos: chaos.valkey.kill(chaos.lose_data), nothing, AT_ONCE_S),
    stopped("SIGSTOP of a REST worker", rest_worker, deaf=REST),
    stopped("SIGSTOP of a socket process", socket_process, deaf=FIRST_SOCKET),
    stopped("SIGSTOP of the worker", worker),
    Fault("SIGSTOP of PostgreSQL", lambda chaos: chaos.postgres.signal(signal.SIGSTOP), lambda chaos: chaos.postgres.signal(signal.SIGCONT), STOPPED_S, cut="db"),
    Fault("SIGSTOP of Valkey", lambda chaos: chaos.valkey.signal(signal.SIGSTOP), lambda chaos: chaos.valkey.signal(signal.SIGCONT), STOPPED_S, cut="redis"),
    Fault("full disk of PostgreSQL", Chaos.fill_disk, Chaos.free_disk, FULL_S, unsure=True, needs_disk=True),
    Fault("Redis cut off", lambda chaos: chaos.line.tell("cut"), lambda chaos: chaos.line.tell("heal"), CUT_S, cut="redis"),
    Fault("200 ms to Redis", lambda chaos: chaos.line.tell("delay 0.2"), lambda chaos: chaos.line.tell("heal"), SLOW_S),
    Fault("rolling restart", roll, nothing, AT_ONCE_S, deaf=REST | {"socket-1", "socket-2"}),
    Fault("clock 10 minutes ahead, and back", lambda chaos: chaos.move_clock(JUMP_S), lambda chaos: chaos.move_clock(0), MOVED_S, moved_clock=True),
)  # fmt: skip
