"""A real cluster: ``manage.py cluster`` in a process of its own, with what tests ask of it."""

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection, connect

from benchmarks.processes import free_ports
from poolhub import nginx, parts
from tests.hub import ROOT, LiveHub, hub_environment
from tests.nginx import MISSING
from tests.waiting import until

START_LIMIT_S, STOP_LIMIT_S = 90, 60


@dataclass(frozen=True)
class RunningCluster(LiveHub):
    ports: parts.Ports

    @property
    def socket_bases(self) -> list[str]:
        return [f"ws://127.0.0.1:{port}" for port in self.ports.sockets]

    @property
    def front(self) -> str:
        """Where nginx listens."""
        return f"http://127.0.0.1:{self.ports.nginx}"

    def register(self, miner_id: str, *, base: str | None = None, **fields: Any) -> str:
        """The session token."""
        body = {"miner_id": miner_id, "api_key": f"key-of-{miner_id}-0123456789", "addr": "h:1", **fields}
        reply = httpx.post(f"{base or self.base}/v1/miners/register", json=body, timeout=10)
        assert reply.is_success, reply.text
        return reply.json()["session_token"]

    def miner(self, miner_id: str, *, base: str | None = None) -> Any:
        return httpx.get(f"{base or self.base}/v1/miners/{miner_id}", headers=self.admin, timeout=10).json()

    @contextmanager
    def socket(self, base: str, token: str) -> Iterator[ClientConnection]:
        """A miner's socket that has been welcomed."""
        with connect(f"{base}/v1/miners/heartbeat", additional_headers={"Authorization": f"Bearer {token}"}) as opened:
            assert json.loads(opened.recv(timeout=10))["type"] == "welcome"
            yield opened


class Worker:
    """A connection to one of the REST workers, which share a port."""

    def __init__(self, hub: RunningCluster) -> None:
        self._hub = hub
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.ports.rest, timeout=10)
        self._connection.connect()
        self.ask("GET", "/v1/health")
        self.pid = owner(hub.ports.rest, self._connection.sock.getsockname()[1])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        sent = None if body is None else json.dumps(body)
        content = {} if sent is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, sent, {**content, **headers})
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def match(self, **body: Any) -> Any:
        status, text = self.ask("POST", "/v1/match", {"job_id": "j", "dry_run": True, **body}, **self._hub.coordinator)
        assert status == 200, text
        return json.loads(text)

    def candidates(self, region: str) -> list[str]:
        return [each["miner_id"] for each in self.match(hints={"region": region}, top_k=50)["candidates"]]

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_string_to_metric_families(self.ask("GET", "/v1/metrics")[1].decode())
        return {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for family in families for each in family.samples
        }  # fmt: skip

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics().get((name, tuple(sorted(labels.items()))), 0.0)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def both_workers(hub: RunningCluster) -> Iterator[tuple[Worker, Worker]]:
    """The system spreads connections over the workers as it likes: open some until each has one."""
    found: dict[int, Worker] = {}
    opened: list[Worker] = []
    try:
        while len(found) < parts.REST_WORKERS:
            assert len(opened) < 100, "one worker answers everything"
            opened.append(Worker(hub))
            found.setdefault(opened[-1].pid, opened[-1])
        first, second = found.values()
        yield first, second
    finally:
        for each in opened:
            each.close()


def owner(port: int, peer_port: int) -> int:
    """The process that serves the connection between these two ports of loopback, all of whose bytes it has read."""
    until(lambda: _inode(port, peer_port) is not None, 10, "the connection is served")
    wanted = f"socket:[{_inode(port, peer_port)}]"
    for file in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(file.readlink()) == wanted:
                return int(file.parts[2])
        except OSError:  # it has ended, or was closed, meanwhile
            continue
    raise AssertionError(f"nobody holds {wanted}")


def _inode(port: int, peer_port: int) -> str | None:
    ends = f" 0100007F:{port:04X} 0100007F:{peer_port:04X} "
    fields = next(line for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line).split()
    is_read, inode = fields[4].endswith(":00000000"), fields[9]
    return inode if is_read and inode != "0" else None  # 0: nobody has accepted it yet


def child_with(pid: int, word: str) -> int:
    """A child of this process that has the word in its command."""
    for child in children(pid):
        if word in command_of(child):
            return child
    raise AssertionError(f"no child of {pid} has {word} in its command")


def children(pid: int) -> list[int]:
    """Of its main thread; none where it has ended."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def command_of(pid: int) -> str:
    """Its words, each ended by NUL; none where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


@contextmanager
def running_cluster(folder: Path, *options: str, **changes: str) -> Iterator[RunningCluster]:
    """Started and healthy; ended by SIGTERM. Without DB_DSN and REDIS_URL it has servers of its own."""
    assert nginx.binary() is not None, MISSING
    ports = free_ports()
    env = {**hub_environment("sqlite:///unused", ports.rest), "REDIS_URL": "", **changes}
    log = folder / f"cluster-{ports.rest}.log"
    with log.open("wb") as sink:
        command = [sys.executable, str(ROOT / "manage.py"), "cluster", *options]
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)
    hub = RunningCluster(
        base=f"http://127.0.0.1:{ports.rest}",
        coordinator_secret=env["COORDINATOR_SHARED_SECRET"],
        admin_secret=env["ADMIN_SHARED_SECRET"],
        process=process,
        log=log,
        env=env,
        ports=ports,
    )
    try:
        wait_until_it_listens(hub)
        yield hub
    finally:
        try:
            hub.stop(limit_s=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_until_it_listens(hub: RunningCluster) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and hub.process.poll() is None:
        if re.search("^Pool Hub listens on ", hub.log.read_text(), re.MULTILINE):
            return
        time.sleep(0.1)
    raise AssertionError(f"the cluster did not start:\n{hub.log.read_text()}")
