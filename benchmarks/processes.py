"""Processes of a benchmark: started with an environment of their own, asked a line at a time, and what they use."""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from poolhub import parts

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_LIMIT_S = 20


def hub_environment(dsn: str, **changes: str) -> dict[str, str]:
    """Of a hub with settings of its own; sessions outlast any benchmark."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "poolhub.settings",
        "POOLHUB_ENV_FILE": "",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "API_KEY_PEPPER": secrets.token_urlsafe(32),
        "COORDINATOR_SHARED_SECRET": secrets.token_urlsafe(18),
        "ADMIN_SHARED_SECRET": secrets.token_urlsafe(18),
        "RATELIMIT_MATCH": "",
        "RATELIMIT_REGISTER": "",
        "SESSION_TTL_SEC": "43200",
        "HEARTBEAT_GRACE_SEC": "86400",
        "LOG_LEVEL": "WARNING",
        "DB_DSN": dsn,
        "REDIS_URL": "",
        **changes,
    }


def migrate(env: dict[str, str]) -> None:
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=env, check=True)


class Child:
    """A module of ours in a process of its own, which answers a line of JSON with a line of JSON."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()} before it answered")
        return json.loads(line)

    def ask(self, *command: object) -> Any:
        self.tell(*command)
        return self.answer()


@contextmanager
def child(module: str, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Child]:
    started = Child(module, *arguments, env=env)
    try:
        yield started
    finally:
        end(started.process)


def serve_lines(commands: dict[str, Callable[..., object]]) -> None:
    """The child's side: a command a line until stdin closes."""
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(commands[name](*arguments)), flush=True)


@contextmanager
def running(command: Sequence[str], *, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Closed pipes end a child; SIGTERM ends a server; what does not end is killed."""
    if process.stdin is not None:
        process.stdin.close()
    elif process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def processor_s(pid: int) -> float:
    """Processor time of all threads, user and system: Linux' clock of a process, what clock_getcpuclockid(3) gives."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def free_ports() -> parts.Ports:
    """Ports as a cluster lays them out, none of them taken, below those that the system gives to clients."""
    while True:
        ports = parts.ports_from(random.randrange(12_000, 32_000))
        if all(is_free(port) for port in (ports.rest, *ports.sockets, ports.nginx)):
            return ports


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
