"""Three real hubs: eu asks us and asia, and us would ask eu. What becomes of a match when one of them fails."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from matching.peers import asking
from tests.hub import ROOT, LiveHub, free_port, running_hub
from tests.waiting import until

pytestmark = pytest.mark.once

SECRET = "the-secret-of-all-three-hubs"
DEADLINE_MS = 1500
MINERS = {"eu": ("eu-1",), "us": ("us-1", "us-2"), "asia": ("asia-1",)}


class Gate:
    """Stands between two hubs, and cuts answers off after so many bytes where told to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        told = 0
        with source, sink:
            while True:
                try:
                    data = source.recv(65_536)
                    cut = self.cut_after if answers else None
                    if not data or (cut is not None and told + len(data) > cut):
                        sink.sendall(data[: max(0, (cut or 0) - told)])
                        sink.shutdown(socket.SHUT_RDWR)
                        source.shutdown(socket.SHUT_RDWR)
                        return
                    sink.sendall(data)
                    told += len(data)
                except OSError:
                    return


class Three:
    def __init__(self, hubs: dict[str, LiveHub], gate: Gate) -> None:
        self.hubs, self.gate = hubs, gate
        self._again: list[subprocess.Popen[bytes]] = []

    def start_again(self, name: str) -> None:
        """One that has stopped, for as long as the others run."""
        command = [sys.executable, str(ROOT / "manage.py"), "serve"]
        self._again.append(subprocess.Popen(command, env=self.hubs[name].env))

    def stop(self) -> None:
        for process in self._again:
            process.terminate()
            process.wait(20)

    def match(self, **body: Any) -> dict[str, Any]:
        hints = {"region": "eu", "spillover": True}
        reply = httpx.post(
            f"{self.hubs['eu'].base}/v1/match", json={"job_id": "j", "top_k": 10, "hints": hints, **body},
            headers={"X-Coordinator-Secret": SECRET}, timeout=10,
        )  # fmt: skip
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def statuses(self) -> dict[str, str]:
        return {name: each["status"] for name, each in self.match()["peers"].items()}

    def health(self) -> dict[str, str]:
        told = httpx.get(f"{self.hubs['eu'].base}/v1/health").json()
        assert told["status"] == "ok"
        return {name: each["status"] for name, each in told["peers"].items()}

    def asked_by(self, hub: str) -> float:
        """How many questions this hub has put to its peers."""
        text = httpx.get(f"{self.hubs[hub].base}/v1/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("poolhub_peer_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def ids(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["hub"], each["miner_id"]) for each in answer["candidates"]}


ALL = {(hub, miner) for hub, miners in MINERS.items() for miner in miners}


@contextmanager
def three(folder: Any) -> Iterator[Three]:
    with ExitStack() as stack:

        def hub(name: str, **env: str) -> LiveHub:
            return stack.enter_context(running_hub(folder, HUB_NAME=name, COORDINATOR_SHARED_SECRET=SECRET, **env))

        asia = hub("asia")
        gate = Gate(int(asia.env["POOLHUB_PORT"]))
        stack.callback(gate.close)
        eu_port = free_port()
        us = hub("us", PEER_HUBS=f"eu=http://127.0.0.1:{eu_port}", PEER_DEADLINE_MS=str(DEADLINE_MS))
        eu = hub(
            "eu", POOLHUB_PORT=str(eu_port), PEER_HUBS=f"us={us.base},asia=http://127.0.0.1:{gate.port}",
            PEER_DEADLINE_MS=str(DEADLINE_MS),
        )  # fmt: skip
        made = Three({"eu": eu, "us": us, "asia": asia}, gate)
        for name, miners in MINERS.items():
            for miner in miners:
                body = {
                    "miner_id": miner,
                    "api_key": f"key-of-{miner}-0123456789",
                    "addr": "10.0.0.1:1",
                    "region": name,
                }
                assert httpx.post(f"{made.hubs[name].base}/v1/miners/register", json=body).status_code == 201
        stack.callback(made.stop)
        yield made


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    with three(tmp_path_factory.mktemp("three")) as made:
        yield made


@pytest.fixture(autouse=True)
def all_answer(hubs: Three) -> None:
    until(lambda: set(hubs.statuses().values()) == {"ok"})


def test_the_answer_is_of_all_three_and_nobody_asks_in_a_circle(hubs) -> None:
    before = hubs.asked_by("us")
    answer = hubs.match()
    assert ids(answer) == ALL
    assert answer["candidates"] == sorted(
        answer["candidates"], key=lambda each: (-each["score"], each["price"], each["miner_id"])
    )
    assert {name: (each["status"], each["eligible"]) for name, each in answer["peers"].items()} == {
        "us": ("ok", 2), "asia": ("ok", 1),
    }  # fmt: skip
    assert hubs.health() == {"us": "ok", "asia": "ok"}
    assert hubs.asked_by("us") == before


def test_one_that_stands_still_costs_the_deadline_once_and_is_then_left_alone(hubs) -> None:
    process = hubs.hubs["us"].process
    os.kill(process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = hubs.match()
        assert time.monotonic() - began < DEADLINE_MS / 1000 + asking.SPARE_S
        assert ids(answer) == {each for each in ALL if each[0] != "us"}
        assert (answer["peers"]["us"]["status"], answer["peers"]["asia"]["status"]) == ("late", "ok")
        assert hubs.match()["peers"]["us"] == {"status": "resting", "took_ms": 0.0}
        assert hubs.health() == {"us": "down", "asia": "ok"}
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_one_that_is_cut_off_in_the_middle_of_its_answer_costs_its_own_candidates_alone(hubs) -> None:
    hubs.gate.cut_after = 100
    try:
        # the connection that is kept may have told its 100 bytes already
        answer = hubs.match()
        assert answer["peers"]["asia"]["status"] == "failed"
        assert ids(answer) == {each for each in ALL if each[0] != "asia"}
    finally:
        hubs.gate.cut_after = None


def test_one_that_has_stopped_is_told_and_comes_back_by_itself(hubs) -> None:
    stopped = hubs.hubs["asia"]
    assert stopped.stop() == 0
    answer = hubs.match()
    assert ids(answer) == {each for each in ALL if each[0] != "asia"}
    assert answer["peers"]["asia"]["status"] == "failed"
    assert hubs.health()["asia"] == "down"
    hubs.start_again("asia")
    until(lambda: hubs.statuses()["asia"] == "ok", limit_s=60)
    assert ids(hubs.match()) == ALL
