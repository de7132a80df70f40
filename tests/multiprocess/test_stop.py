"""How a cluster ends: on SIGTERM nothing is lost, and the end of a part is the end of all."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from benchmarks.processes import free_ports, is_free
from poolhub import parts
from tests.hub import ROOT, hub_environment
from tests.multiprocess.cluster import (
    Worker,
    both_workers,
    child_with,
    owner,
    running_cluster,
)
from tests.multiprocess.test_cluster import beat
from tests.waiting import until

pytestmark = pytest.mark.cluster

PART = re.compile(r"^(?:rest|socket-\d|worker) *\| (.*)$", re.MULTILINE)


@contextmanager
def under_way(port: int, path: str, body: object, **headers: str) -> Iterator[socket.socket]:
    """A POST of which all but the last byte has been sent, and which the server has begun to read."""
    sent = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(sent)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode() + sent[:-1])
        owner(port, raw.getsockname()[1])  # a process has read it
        yield raw


def finish(raw: socket.socket) -> str:
    """Send the last byte; the status line."""
    raw.sendall(b"}")
    return raw.recv(64 * 1024).decode().split("\r\n")[0]


def test_sigterm_drains(tmp_path, databases) -> None:
    with running_cluster(tmp_path, LOG_FORMAT="json", **databases) as hub, ExitStack() as stack:
        tokens = {name: hub.register(name, max_parallel=99) for name in ("http", "ws-0", "ws-1", "ws-front")}
        bases = (*hub.socket_bases, hub.front.replace("http", "ws"))
        sockets = {
            name: stack.enter_context(hub.socket(base, tokens[name]))
            for name, base in zip(("ws-0", "ws-1", "ws-front"), bases, strict=True)
        }
        miner = {"miner_id": "late", "api_key": "key-0123456789abcdef", "addr": "h:1"}
        fronted = stack.enter_context(under_way(hub.ports.nginx, "/v1/miners/register", miner))
        feedback = {"job_id": "late", "miner_id": "http", "outcome": "accepted"}
        direct = stack.enter_context(under_way(hub.ports.rest, "/v1/feedback", feedback, **hub.coordinator))
        with both_workers(hub) as workers:
            load_all(workers, sockets, tokens["http"])
            hub.process.send_signal(signal.SIGTERM)
            for opened in sockets.values():
                with pytest.raises(ConnectionClosed) as closed:
                    opened.recv(timeout=20)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code in (1012, 4012)
            until(lambda: is_free(hub.ports.nginx), 20, "nginx takes no more connections")
            assert finish(fronted) == "HTTP/1.1 201 Created"
            until(lambda: is_free(hub.ports.rest), 20, "REST takes no more connections")
            assert finish(direct) == "HTTP/1.1 201 Created"
        assert hub.process.wait(60) == 0, hub.log.read_text()
        assert "killed" not in hub.log.read_text()
        assert "Traceback" not in hub.log.read_text()
        told = [json.loads(line) for line in PART.findall(hub.log.read_text())]  # by every process, to the last line
        assert {"_granian", "miners.registry.runtime", "miners.services.registration"} <= {
            each["logger"] for each in told
        }
        assert not any(secret in hub.log.read_text() for secret in (*tokens.values(), *hub.coordinator.values()))
    with psycopg.connect(databases["DB_DSN"]) as connection:
        loads = dict(connection.execute("SELECT miner_id, queue_len FROM miners_minerstatus").fetchall())
        assert loads == {"http": 31, "ws-0": 41, "ws-1": 42, "ws-front": 43, "late": 0}
        jobs = {job for (job,) in connection.execute("SELECT job_id FROM matching_matchrecord").fetchall()}
        assert jobs == {"job-0", "job-1"}
        outcomes = connection.execute("SELECT job_id, outcome FROM feedback_feedback").fetchall()
        assert outcomes == [("late", "accepted")]


def load_all(workers: tuple[Worker, Worker], sockets: dict, token: str) -> None:
    """Reports and matches that no flush has met: the last things that the cluster takes."""
    for opened, load in zip(sockets.values(), (41, 42, 43), strict=True):
        opened.send(beat(queue_len=load, ack=True))
        assert json.loads(opened.recv(timeout=10))["type"] == "ack"
    for number, worker in enumerate(workers):
        worker.match(job_id=f"job-{number}", dry_run=False)
    assert workers[0].ask("POST", "/v1/miners/update", {"queue_len": 31}, Authorization=f"Bearer {token}")[0] == 200


def test_a_part_that_dies_ends_the_cluster_with_its_code(tmp_path, databases) -> None:
    with running_cluster(tmp_path, **databases) as hub:
        os.kill(child_with(hub.process.pid, "poolhub.asgi"), signal.SIGKILL)
        assert hub.process.wait(60) == 128 + signal.SIGKILL, hub.log.read_text()
        assert "the cluster ends: socket-" in hub.log.read_text()
        for port in (hub.ports.rest, *hub.ports.sockets, hub.ports.nginx):
            assert is_free(port)


def test_a_port_that_is_taken_stops_the_start_with_one_line() -> None:
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.sockets[1]))
        taken.listen()
        ended = cluster_refused(ports.rest)
    assert ended == f"CommandError: port {ports.sockets[1]} of 127.0.0.1 cannot be had: Address already in use\n"
    assert cluster_refused(0) == f"CommandError: a cluster needs POOLHUB_PORT from 1 to {parts.HIGHEST}, not 0\n"


def cluster_refused(port: int) -> str:
    ended = subprocess.run(
        [sys.executable, "manage.py", "cluster"], cwd=ROOT, env=hub_environment("sqlite:///unused", port),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr
