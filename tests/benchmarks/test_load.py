"""The load run: its own sums and its clients."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets

from benchmarks import figures, load
from benchmarks.loading import coordinator, sums
from benchmarks.loading.coordinator import Coordinator, Flood
from benchmarks.loading.http import GONE, Pool, request
from benchmarks.loading.sockets import ACK_EACH, MinerSocket
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure


# ---- sums


def test_requests_are_due_at_moments_that_the_seed_alone_decides() -> None:
    due = sums.arrivals(100, 60, seed=1)
    assert list(due) == list(sums.arrivals(100, 60, seed=1)) != list(sums.arrivals(100, 60, seed=2))
    assert list(due) == sorted(due)
    assert 0 < due[0] < due[-1] < 60
    assert len(due) == pytest.approx(6_000, rel=0.05)
    assert np.diff(due).std() == pytest.approx(0.01, rel=0.1)  # exponential gaps: as wide as their mean


@pytest.mark.parametrize(
    ("ms", "found"),
    [([], (0, None, None, None)), ([5.0], (1, 5.0, 5.0, 5.0)), (list(range(101)), (101, 50, 99, 100))],
)
def test_percentiles_are_of_all_samples(ms, found) -> None:
    assert tuple(sums.percentiles(ms).values()) == found


def test_the_slope_is_that_of_the_last_two_thirds_a_minute() -> None:
    at = [0.0, 60, 120, 180, 240, 300, 360, 420, 480, 540]
    filling, flat_then_growing = (
        [100.0, 150, 180, 180, 180, 180, 180, 180, 180, 180],
        [5.0] * 4 + [5.0, 7, 9, 11, 13, 15],
    )
    assert sums.slope(*sums.settled(at, filling)) == pytest.approx(0)
    assert sums.settled(at, at)[0] == at[3:]
    assert sums.slope(at[4:], flat_then_growing[4:]) == pytest.approx(2.0)
    assert sums.slope([3.0], [8.0]) == 0


def test_a_part_may_grow_by_what_new_miners_take_and_a_little_for_each_process() -> None:
    assert sums.allowed_mb_per_min(1, 0) == sums.FLAT_MB_PER_MIN
    assert sums.allowed_mb_per_min(2, 1_000) == pytest.approx(2 * (sums.FLAT_MB_PER_MIN + 1.024))


@pytest.mark.parametrize(
    ("ms", "found"),
    [
        ([1.0, 1, 1], 0.0),
        ([None, 300.0, 1], 2.0),  # refused, slow, quick
        ([1.0, 1, None], None),
        ([1.0, 300, 1], 2.0),  # what was quick before a slow one says nothing
        ([], None),
    ],
)
def test_it_is_back_to_normal_from_when_nothing_is_slow_or_refused_any_more(ms, found) -> None:
    assert sums.back_after_s([0.0, 1, 2][: len(ms)], ms, limit_ms=250) == found


def test_counts_add_up_by_name() -> None:
    assert sums.added([{"a": 1, "b": 2}, {}, {"b": 3}]) == {"a": 1, "b": 5}


# ---- clients


Answering = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[int]:
    """A server on some port that answers each request; the number counts them."""
    asked = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                asked += 1
                await answer(writer, asked)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, *([] if status == 204 else [f"Content-Length: {len(body)}"])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_answers_are_read_however_they_come_in_and_what_waits_takes_its_turn() -> None:
    async def dribble(writer: asyncio.StreamWriter, number: int) -> None:
        text = http(204) if number == 2 else http(429 if number == 3 else 200, b'{"code":"c"}', "Retry-After: 3")
        for each in text:
            writer.write(bytes([each]))
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> list[Any]:
        async with serving(dribble) as port:
            pool = Pool(port, 1)
            found = await asyncio.gather(*(pool.ask(request("POST", "/x", {"a": 1})) for _ in range(4)))
            pool.close()
            return found

    answers = asyncio.run(run())
    assert [each.status for each in answers] == [200, 204, 429, 200]
    assert (answers[2].code, answers[2].retry_after_s, answers[1].retry_after_s) == ("c", 3.0, None)


def test_a_connection_that_ends_is_no_answer_and_the_next_request_opens_another() -> None:
    async def end_the_first(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            writer.transport.abort()
        else:
            writer.write(http(200, b"{}"))

    async def run() -> list[Any]:
        async with serving(end_the_first) as port:
            pool = Pool(port, 1)
            found = [await pool.ask(request("GET", "/x")) for _ in range(2)]
            pool.close()
            return found

    first, second = asyncio.run(run())
    assert first is GONE
    assert second.status == 200


def test_a_flood_counts_from_when_a_request_was_due_though_the_hub_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what could not even be sent meanwhile would look quick: coordinated omission."""
    monkeypatch.setattr(sums, "arrivals", lambda rate, seconds, seed: np.array([0.0, 0.01, 0.02]))
    stood_still: list[float] = []

    async def stand_still_once(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            begun = time.perf_counter()
            await asyncio.sleep(0.3)
            stood_still.append(time.perf_counter() - begun)
        body = b'{"candidates":[{"miner_id":"m"}],"reservation":{"id":"r"}}'
        writer.write(http(503, b'{"code":"overloaded"}', "Retry-After: 1") if number == 3 else http(200, body))

    async def run() -> dict[str, Any]:
        async with serving(stand_still_once) as port:
            flood = Flood(Coordinator(port, "secret", 1), 1)
            await flood.at(100, 0.03)
            return flood.told(0.03)

    told = asyncio.run(run())
    assert told["counts"] == {"matched": 2, "503 overloaded": 1, "never answered": 0}
    assert told["without_retry_after"] == 0
    assert told["matched"]["p50_ms"] >= (stood_still[0] - 0.02) * 1e3
    assert told["refused"]["p50_ms"] >= (stood_still[0] - 0.03) * 1e3
    assert told["back_after_s"] is None  # the last was refused


class Heard:
    """An owner that notes what it is told."""

    def __init__(self) -> None:
        self.beats = self.acks = 0
        self.texts: list[str] = []
        self.is_open = asyncio.Event()
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def beat(self) -> None:
        self.beats += 1

    def acked(self, ms: float) -> None:
        self.acks += 1

    def complained(self, text: str) -> None:
        self.texts.append(text)

    def opened(self, socket: MinerSocket) -> None:
        self.is_open.set()

    def ended(self, socket: MinerSocket, code: int) -> None:
        self.code.set_result(code)


def test_a_miner_s_socket_keeps_the_rhythm_answers_pings_and_tells_how_it_was_closed() -> None:
    async def hub(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "welcome", "next_heartbeat_sec": 0.001, "lease_ttl_sec": 1}))
        for step in range(1, ACK_EACH + 1):
            beat = json.loads(await socket.recv())
            assert beat["queue_len"] == step % 4
            assert bool(beat["ack"]) == (step == ACK_EACH)
        await socket.send(json.dumps({"type": "ack", "ts": beat["ts"]}, separators=(",", ":")))
        await (await socket.ping())
        await socket.send(json.dumps({"type": "error", "code": "c", "detail": "d" * 200}))
        await socket.close(4401)

    async def run() -> Heard:
        async with serve_sockets(hub, "127.0.0.1", 0, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            heard = Heard()
            await asyncio.get_running_loop().create_connection(
                lambda: MinerSocket(heard, "token", lambda: 0.0), "127.0.0.1", port
            )
            assert await asyncio.wait_for(heard.code, 20) == 4401
            return heard

    heard = asyncio.run(run())
    assert heard.is_open.is_set()
    assert heard.beats >= ACK_EACH
    assert heard.acks == 1
    assert [json.loads(text)["code"] for text in heard.texts] == ["c"]


# ---- the run


def test_too_few_open_files_are_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "open_files", lambda: 1024)
    with pytest.raises(SystemExit, match=r"`ulimit -n` of 11,000 or more; it is 1,024"):
        load.run(options(load))


def test_what_becomes_of_jobs_adds_up() -> None:
    assert sum(share for _, share in coordinator.ENDS) == pytest.approx(1)


def test_figures_are_read_off_a_run_of_full_size() -> None:
    flat = {"flat": True}
    result = {
        "miners": load.MINERS,
        "matches_s": load.MATCHES_S,
        "steady": {"errors": {"a": 2}, "memory": {"rest": flat, "worker": {"flat": False}}},
        "beyond": {"floods": [{"goodput": 0.9}, {"goodput": 0.7}], "miners_lost": 0, "back_after_s": 1.0},
    }
    assert [each.read(result) for each in load.FIGURES] == [2, 1, 0.7, 0, 1.0]
    assert figures.table([load], {load.NAME: result}).count("**no**") == 3
    result["beyond"]["back_after_s"] = None
    assert load.FIGURES[-1].read(result) == math.inf
    assert [each.read({**result, "miners": 10}) for each in load.FIGURES] == [None] * 5
