"""A hub with so many miners behind a real server, in processes of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

import msgspec

from benchmarks.harness import ROOT
from benchmarks.processes import hub_environment, migrate, processor_s
from benchmarks.processes import running as process_running
from benchmarks.serving.client import Connection, Order, Told
from poolhub import devservers, parts

HOST = "127.0.0.1"
START_LIMIT_S = 300.0
HOLD_MS = 100  # nobody takes the jobs, and thousands of matches a second would hold every slot with the default


@dataclass(frozen=True, slots=True)
class Hub:
    miners: int
    port: int
    secret: str
    pids: tuple[int, ...]

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Coordinator-Secret: {self.secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def once(self, request: bytes) -> bytes:
        """The body of its answer."""
        connection = Connection(self.port)
        with connection.socket:
            connection.send(request)
            while (answer := connection.answer()) is None:
                pass
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return answer.partition(b"\r\n\r\n")[2]

    def processor_s(self) -> float:
        """Processor time of all its processes so far."""
        return sum(map(processor_s, self.pids))


@contextmanager
def running(miners: int, *, folder: Path, seed: int) -> Iterator[Hub]:
    """One REST worker over an SQLite database with so many mock miners, all of them online for as long as it runs."""
    env = hub_environment(
        f"sqlite:///{folder}/{miners}.sqlite3",
        DJANGO_SETTINGS_MODULE="benchmarks.serving.settings",
        RATELIMIT_MATCH="1000000/s",  # counted as in production, never reached
        SOFT_HOLD_MS=str(HOLD_MS),
    )
    migrate(env)
    seed_miners = parts.manage_command("seed_miners", "--count", str(miners), "--seed", str(seed), "--verbosity", "0")
    subprocess.run(seed_miners, cwd=ROOT, env=env, check=True)
    port, log = devservers.free_port(HOST), folder / f"{miners}.log"
    command = [*parts.rest_command(HOST, port, workers=1)[:-1], "benchmarks.serving.app:worker"]
    with process_running(command, env=env, log=log) as process:
        _wait_until_it_listens(process, port, log)
        yield Hub(miners, port, env["COORDINATOR_SHARED_SECRET"], tuple(_family(process.pid)))


def ask(hub: Hub, requests: Sequence[bytes], *, holds: bytes, connections: int, seconds: float) -> tuple[Told, float]:
    """What a client was told in so long, and the server's processor time meanwhile, in s."""
    order = msgspec.msgpack.encode(Order(hub.port, connections, seconds, list(requests), holds))
    before = hub.processor_s()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.client"], cwd=ROOT, input=order, stdout=subprocess.PIPE, check=True
    )
    return msgspec.msgpack.decode(done.stdout, type=Told), hub.processor_s() - before


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))
