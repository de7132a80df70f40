"""Heartbeats over WebSocket: the hub's consumer beside an empty one with the same dispatch, in one server process.

Both are driven by turns: each miner sends its next heartbeat when the last is acknowledged. A turn counts only if every
acknowledgement names the time that was sent, the hub has counted every heartbeat, and its listing shows the last one.
"""

import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import msgspec

from benchmarks import harness, plots
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.harness import ROOT
from benchmarks.processes import Child, child, hub_environment, migrate, processor_s, resident_bytes, running
from benchmarks.sockets import frames
from poolhub import devservers, parts

NAME = "heartbeats"
MINERS = (1_000, 5_000)
MESSAGES_A_TURN = 40_000
TURNS = 5
QUICK_MINERS, QUICK_TURNS = (200,), 1
MESSAGES_PER_S, BURST = 10.0, 50.0  # what the hub allows a socket: `miners.consumers`, which wants Django set up
SETTLE_S = 1.3  # the write-behind has run, and is counted with the turn that it belongs to
WARM_UP = 50  # sockets that are opened and closed before memory is read
BOTH = (frames.HEARTBEATS, frames.EMPTY)
START_LIMIT_S = 60
OPEN_FILES = 200  # of a process besides its sockets


def _daphne(port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.sockets.server", str(port)]


def _uvicorn(port: int) -> list[str]:
    """As the hub's socket processes are started, but for the application."""
    return [*parts.socket_command("127.0.0.1", port)[:-1], "benchmarks.sockets.app:application"]


SERVERS: dict[str, Callable[[int], list[str]]] = {"daphne": _daphne, "uvicorn": _uvicorn}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--miners", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--servers", type=lambda text: text.split(","), default=list(SERVERS))
    parser.add_argument("--turns", type=int)
    parser.add_argument("--quick", action="store_true", help="200 miners and one turn: a check, not a measurement")


def run(options: Namespace) -> dict[str, Any]:
    counts = options.miners or (QUICK_MINERS if options.quick else MINERS)
    turns = options.turns or (QUICK_TURNS if options.quick else TURNS)
    require_files(max(counts))
    result: dict[str, Any] = {
        "what": "heartbeats over WebSocket, one process, beside an empty consumer",
        "environment": harness.environment(
            ("daphne", "uvicorn", "uvloop", "websockets", "channels", "msgspec", "numpy")
        ),
        "quick": options.quick,
        "open_files": open_files(),
        "runs": [],
    }
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        env = hub_environment(f"sqlite:///{folder}/hub.sqlite3")
        migrate(env)
        miners = seeded(env, max(counts))
        for count in counts:
            for server in options.servers:
                result["runs"].append(measure(server, miners[:count], turns, env, Path(folder)))
                print(_line(result["runs"][-1]), flush=True)
    result["environment"]["load_average_after"] = harness.environment(())["load_average"]
    return result


def open_files() -> int:
    import resource  # noqa: PLC0415 - POSIX alone

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def require_files(miners: int) -> None:
    """Each miner has two sockets, in the server and in the client."""
    wanted = 2 * miners + OPEN_FILES
    if open_files() < wanted:
        sys.exit(f"{miners:,} miners need `ulimit -n` of {wanted:,} or more; it is {open_files():,}")


def seeded(env: dict[str, str], count: int) -> list[tuple[str, str]]:
    """Id and session token of registered miners."""
    command = [sys.executable, "-m", "benchmarks.sockets.seed", str(count)]
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=list[tuple[str, str]])


def measure(
    server: str, miners: Sequence[tuple[str, str]], turns: int, env: dict[str, str], folder: Path
) -> dict[str, Any]:
    port = devservers.free_port()
    with ExitStack() as stack:
        process = stack.enter_context(running(SERVERS[server](port), env=env, log=folder / f"{server}.log"))
        hub = stack.enter_context(closing(Hub(port, env["ADMIN_SHARED_SECRET"], process.pid)))
        hub.wait_until_healthy(process, folder / f"{server}.log")
        crowd = stack.enter_context(child("benchmarks.sockets.crowd", str(port)))
        memory = connect(crowd, hub, [token for _, token in miners])
        each = max(1, min(MESSAGES_A_TURN // len(miners), int(BURST) - 10))
        spent: dict[str, list[dict[str, float]]] = {path: [] for path in BOTH}
        for turn in range(turns + 1):
            for path in BOTH if turn % 2 else BOTH[::-1]:
                done = drive(crowd, hub, path, each, miners)
                if turn:  # the first one warms up
                    spent[path].append(done)
        memory["after_heartbeats_bytes_a_miner"] = round((hub.resident() - memory.pop("before")) / len(miners))
    ours, empty = (_medians(spent[path]) for path in BOTH)
    return {
        "server": server,
        "miners": len(miners),
        "messages_a_turn": each * len(miners),
        "turns": turns,
        "hub": ours,
        "empty": empty,
        "messages_ratio": round(_median_ratio(spent, "messages_a_s"), 3),
        "processor_ratio": round(1 / _median_ratio(spent, "us_a_message"), 3),
        "memory": memory,
    }


class Hub:
    def __init__(self, port: int, secret: str, pid: int) -> None:
        self.pid = pid
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Admin-Secret": secret}, timeout=30)

    def close(self) -> None:
        self.client.close()

    def wait_until_healthy(self, process: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if self.client.get("/v1/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"the server did not start:\n{log.read_text()}")

    def applied(self) -> int:
        """Heartbeats that the hub has counted."""
        lines = self.client.get("/v1/metrics").raise_for_status().text.splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("poolhub_heartbeats_total{"))

    def queue_len(self, miner_id: str) -> int:
        reply = self.client.get(f"/v1/miners/{miner_id}").raise_for_status().json()
        return int(reply["live"]["queue_len"])

    def resident(self) -> int:
        return resident_bytes(self.pid)


def connect(crowd: Child, hub: Hub, tokens: Sequence[str]) -> dict[str, Any]:
    """Open both sockets of each miner; what a miner's takes in the server, and an empty one."""
    for path in BOTH:
        crowd.ask("connect", path, tokens[:WARM_UP])
        crowd.ask("drive", path, 2)
        crowd.ask("close", path)
    time.sleep(SETTLE_S)
    sizes = [hub.resident()]
    for path in BOTH:
        assert crowd.ask("connect", path, tokens) == len(tokens)
        time.sleep(SETTLE_S)
        sizes.append(hub.resident())
    ours, empty = ((after - before) / len(tokens) for before, after in pairwise(sizes))
    return {
        "bytes_a_miner": round(ours),
        "bytes_an_empty_socket": round(empty),
        "before": sizes[0] + sizes[2] - sizes[1],
    }


def drive(crowd: Child, hub: Hub, path: str, each: int, miners: Sequence[tuple[str, str]]) -> dict[str, float]:
    before, begun = hub.applied(), time.monotonic()
    cpu = processor_s(hub.pid)
    done = crowd.ask("drive", path, each)
    time.sleep(SETTLE_S)
    cpu = processor_s(hub.pid) - cpu
    applied = hub.applied() - before
    assert done["acked"] == each * len(miners), done
    assert applied == (done["acked"] if path == frames.HEARTBEATS else 0), (path, applied)
    if path == frames.HEARTBEATS:
        for miner_id, _ in (miners[0], miners[len(miners) // 2], miners[-1]):
            assert hub.queue_len(miner_id) == done["queue_len"], miner_id
        # as many more are allowed in one go once the miners' buckets are full again
        time.sleep(max(0.0, each / MESSAGES_PER_S - (time.monotonic() - begun)))
    return {
        "messages_a_s": done["acked"] / done["seconds"],
        "us_a_message": cpu / done["acked"] * 1e6,
    }


def _medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in turns), 2) for name in turns[0]}


def _median_ratio(spent: dict[str, list[dict[str, float]]], name: str) -> float:
    """The hub's to the empty consumer's, turn by turn."""
    return median(ours[name] / empty[name] for ours, empty in zip(*(spent[path] for path in BOTH), strict=True))


HEADER = (
    "server", "miners", "messages/s", "empty", "ratio", "µs of processor", "empty", "ratio", "KB a miner", "empty",
    "after",
)  # fmt: skip


def tables(result: dict[str, Any]) -> str:
    rows = [
        [
            each["server"], each["miners"], each["hub"]["messages_a_s"], each["empty"]["messages_a_s"],
            each["messages_ratio"], each["hub"]["us_a_message"], each["empty"]["us_a_message"],
            each["processor_ratio"], each["memory"]["bytes_a_miner"] / 1000,
            each["memory"]["bytes_an_empty_socket"] / 1000, each["memory"]["after_heartbeats_bytes_a_miner"] / 1000,
        ]
        for each in result["runs"]
    ]  # fmt: skip
    return f"\n{harness.table(HEADER, rows)}"


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['server']}, {found['miners']:,} miners: {found['hub']['messages_a_s']:,.0f} messages/s,"
        f" {found['hub']['us_a_message']} µs each; empty {found['empty']['messages_a_s']:,.0f},"
        f" {found['empty']['us_a_message']} µs"
    )


def plot(result: dict[str, Any]) -> None:
    panels = {
        f"{each['server']}, {each['miners']:,} miners": {
            "hub": each["hub"]["us_a_message"], "empty": each["empty"]["us_a_message"],
        }
        for each in result["runs"]
    }  # fmt: skip
    plots.bars(harness.folder_of(result) / NAME, panels, y="µs of processor time a message")


def _of(server: str, miners: int, *names: str) -> Callable[[Result], float]:
    def seen(result: Result) -> float:
        found: Any = next(each for each in result["runs"] if (each["server"], each["miners"]) == (server, miners))
        for name in names:
            found = found[name]
        return float(found)

    return seen


def _kb(server: str, miners: int) -> Callable[[Result], float]:
    return lambda result: _of(server, miners, "memory", "bytes_a_miner")(result) / 1000


CASES = [(server, miners) for miners in MINERS for server in SERVERS]
FIGURES: tuple[Figure, ...] = (
    *(
        at_least(f"heartbeats, {server}, {miners:,} miners: messages/s of an empty consumer's", 0.8, "×",
                 _of(server, miners, "messages_ratio"))
        for server, miners in CASES
    ),
    *(
        at_least(f"heartbeats, {server}, {miners:,} miners: the same by processor time", 0.8, "×",
                 _of(server, miners, "processor_ratio"))
        for server, miners in CASES
    ),
    *(
        at_most(f"memory a connected miner, {server}, {miners:,} miners", 40, "KB", _kb(server, miners))
        for server, miners in CASES
    ),
)  # fmt: skip
