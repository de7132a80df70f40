"""WS /v1/miners/heartbeat, in process: every close code, and what a message does."""

import asyncio
import json
from typing import Any

import pytest
from channels.db import database_sync_to_async

from miners import connections
from miners.services.operators import miner_disable, miner_end_session, miner_issue_key, miner_remove
from poolhub.common import clock
from poolhub.common.metrics import HEARTBEATS
from tests.miners.builders import post, register, view
from tests.miners.sockets import Socket, beat, run

pytestmark = pytest.mark.django_db(transaction=True)


def opened(**how: Any) -> dict[str, Any]:
    """What a socket is told first."""

    async def main() -> dict[str, Any]:
        socket = Socket(**how)
        first = await socket.open()
        await socket.leave()
        return first

    return asyncio.run(main())


def test_the_welcome_tells_the_rhythm() -> None:
    token = register()
    want = {"type": "welcome", "miner_id": "m1", "next_heartbeat_sec": 20, "lease_ttl_sec": 60}
    assert opened(token=token) == want
    assert opened(header=f"Bearer {token}") == want
    assert opened(header=f"bearer  {token} ", query="session_token=wrong") == want


@pytest.mark.parametrize(
    "how",
    [
        {}, {"token": ""}, {"token": "wrong"}, {"token": "%ff%00"}, {"header": "Bearer "}, {"header": "Basic x"},
        {"header": "Bearer \xff"}, {"query": "session_token"}, {"query": "&&=;%"}, {"token": "m1/1:x"},
    ],
)  # fmt: skip
def test_no_token_or_a_wrong_one_is_4401(how) -> None:
    register()
    assert opened(**how) == {"close": 4401}


def test_a_token_that_has_ended_is_4401(client, time) -> None:
    old = register()
    token = register()
    assert opened(token=old) == {"close": 4401}
    time.advance(121)
    assert opened(token=token) == {"close": 4401}
    post(client, "/v1/miners/logout", token=(token := register()))
    assert opened(token=token) == {"close": 4401}


def test_a_token_that_another_process_issued_is_looked_up(registry) -> None:
    token = register()
    registry.remove("m1")
    assert opened(token=token)["type"] == "welcome"


def test_a_disabled_miner_is_4403() -> None:
    token = register()
    miner_disable(miner_id="m1")
    assert opened(token=token) == {"close": 4403}


def test_a_heartbeat_is_applied(time) -> None:
    token = register(max_parallel=4)

    async def play(socket: Socket) -> None:
        time.advance(10)
        await socket.send(
            beat(queue_len=2, busy=True, current_jobs=["a"], avg_latency_ms=77, temp_c=60, mem_free_gb=11.5, extra=[1])
        )
        assert await socket.silent()
        live = view().live
        assert (live.queue_len, live.busy, live.jobs, live.latency_ms) == (2, True, 1, 77)
        assert (live.temp_c, live.mem_free_gb, live.last_seen) == (60, 11.5, time.now())

    run(play, lambda: Socket(token))


def test_an_ack_comes_only_when_it_is_asked_for_and_names_the_ts_as_it_came() -> None:
    async def play(socket: Socket) -> None:
        await socket.send(beat())
        assert await socket.silent()
        ts = clock.to_rfc3339(clock.now()).replace("Z", "+00:00")
        await socket.send({"type": "heartbeat", "ts": ts, "queue_len": 0, "ack": True})
        assert await socket.receive() == {"type": "ack", "ts": ts}

    token = register()
    run(play, lambda: Socket(token))


def test_a_late_heartbeat_undoes_nothing_but_renews_the_lease(time) -> None:
    async def play(socket: Socket) -> None:
        await socket.send(beat(queue_len=2))
        time.advance(50)
        await socket.send(beat(-55, queue_len=4, ack=True))
        assert (await socket.receive())["type"] == "ack"
        assert (view().live.queue_len, view().live.last_seen) == (2, time.now())

    token = register(max_parallel=9)
    run(play, lambda: Socket(token))


def test_a_ts_far_off_the_hubs_clock_orders_nothing(time) -> None:
    async def play(socket: Socket) -> None:
        for shift, queue_len, seen in [(0, 1, 1), (-3600, 2, 2), (3600, 3, 3), (0, 4, 4), (-20, 5, 4)]:
            await socket.send(beat(shift, queue_len=queue_len, ack=True))
            assert (await socket.receive())["type"] == "ack"
            assert view().live.queue_len == seen

    token = register()
    run(play, lambda: Socket(token))


def test_a_new_session_orders_afresh() -> None:
    first, second = register(), None

    async def ahead(socket: Socket) -> None:
        await socket.send(beat(30, queue_len=1, ack=True))
        await socket.receive()

    async def behind(socket: Socket) -> None:
        await socket.send(beat(-30, queue_len=2, ack=True))
        await socket.receive()
        assert view().live.queue_len == 2

    run(ahead, lambda: Socket(first))
    second = register()
    run(behind, lambda: Socket(second))


@pytest.mark.parametrize(
    "junk",
    [
        "not json", "[]", "null", "5", '"x"', "", "{", '{"ts":"x"', {"queue_len": 0},
        {"ts": "yesterday", "queue_len": 0},
        {"ts": "2026-11-24", "queue_len": 0}, {"ts": "2026-11-24T00:00:00", "queue_len": 0}, {"ts": 5, "queue_len": 0},
        {"type": "dance"}, {"type": "dance", "ts": "2026-11-24T00:00:00Z", "queue_len": 0},
        {"ts": "2026-11-24T00:00:00Z"},
        {"ts": "2026-11-24T00:00:00Z", "queue_len": -3}, {"ts": "2026-11-24T00:00:00Z", "queue_len": "many"},
        {"ts": "2026-11-24T00:00:00Z", "queue_len": True}, {"ts": "2026-11-24T00:00:00Z", "queue_len": 0, "ack": "yes"},
        {"ts": "2026-11-24T00:00:00Z", "queue_len": None}, '{"ts":"2026-11-24T00:00:00Z","queue_len":NaN}',
        '{"ts":"2026-11-24T00:00:00Z","queue_len":0,"temp_c":1e999}', "[" * 8000, '{"a":' * 2000, "\x00",
        '{"ts":"\\u0000","queue_len":0}', '{"ts":"\\ud800","queue_len":0}', "\ud800",
    ],
)  # fmt: skip
def test_an_invalid_message_gets_an_error_and_the_connection_stays(junk) -> None:
    async def play(socket: Socket) -> None:
        await socket.send(junk)
        told = await socket.receive()
        assert told["type"] == "error"
        assert told["code"]
        assert told["detail"]
        await socket.send(beat(ack=True))
        assert (await socket.receive())["type"] == "ack"

    token = register()
    run(play, lambda: Socket(token))


def test_a_binary_message_gets_an_error_too() -> None:
    async def play(socket: Socket) -> None:
        for frame in ({"bytes": b"\xff\xfe"}, {"bytes": json.dumps(beat()).encode()}, {"bytes": b"", "text": None}, {}):
            await socket.app.send_input({"type": "websocket.receive", **frame})
            assert (await socket.receive())["type"] == "error"

    token = register()
    run(play, lambda: Socket(token))


@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_ts_at_the_ends_of_time_orders_nothing(ts) -> None:
    async def play(socket: Socket) -> None:
        await socket.send({"ts": ts, "queue_len": 3, "ack": True})
        assert await socket.receive() == {"type": "ack", "ts": ts}
        assert (view().live.queue_len, view().live.ts) == (3, None)

    token = register()
    run(play, lambda: Socket(token))


def test_ten_invalid_messages_in_a_row_are_4400(time) -> None:
    async def play(socket: Socket) -> None:
        for count in (9, 10):
            for _ in range(count):
                time.advance(0.1)
                await socket.send("junk")
                assert (await socket.receive())["type"] == "error"
            if count == 9:
                await socket.send(beat(ack=True))
                assert (await socket.receive())["type"] == "ack"
        assert await socket.receive() == {"close": 4400}

    token = register()
    run(play, lambda: Socket(token))


def test_a_message_over_16_kib_is_4413() -> None:
    async def play(socket: Socket) -> None:
        text = json.dumps(beat(queue_len=1, ack=True))
        await socket.send(text + " " * (16 * 1024 - len(text)))
        assert (await socket.receive())["type"] == "ack"
        await socket.send(json.dumps(beat(1, queue_len=2, note="é" * 8200), ensure_ascii=False))
        assert await socket.receive() == {"close": 4413}
        assert view().live.queue_len == 1

    token = register()
    run(play, lambda: Socket(token))


def test_a_flood_is_4429_and_nothing_after_it_is_applied(time) -> None:
    async def play(socket: Socket) -> None:
        for i in range(200):
            await socket.send(beat(i / 1000, queue_len=i))
        assert await socket.receive() == {"close": 4429}
        assert await socket.silent()
        assert view().live.queue_len == 49  # the burst

    token = register()
    run(play, lambda: Socket(token))


def test_ten_messages_a_second_are_borne(time) -> None:
    async def play(socket: Socket) -> None:
        for _ in range(300):
            time.advance(0.1)
            await socket.send(beat(ack=True))
            assert (await socket.receive())["type"] == "ack"

    token = register()
    run(play, lambda: Socket(token))


def test_a_newer_connection_replaces_the_older_one() -> None:
    async def play(socket: Socket) -> None:
        newer = Socket(token)
        assert (await newer.open())["type"] == "welcome"
        assert await socket.receive() == {"close": 4409}
        await socket.send(beat(queue_len=5))
        await newer.send(beat(queue_len=1, ack=True))
        assert (await newer.receive())["type"] == "ack"
        await socket.leave()
        assert connections.count() == 1
        await newer.leave()

    token = register()
    run(play, lambda: Socket(token))


def test_a_refused_connection_replaces_nothing() -> None:
    async def play(socket: Socket) -> None:
        stranger = Socket(old)
        assert await stranger.open() == {"close": 4401}
        await stranger.leave()
        await socket.send(beat(ack=True))
        assert (await socket.receive())["type"] == "ack"

    old = register()
    token = register()
    run(play, lambda: Socket(token))


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda client, token: register(), 4401),
        (lambda client, token: post(client, "/v1/miners/logout", token=token), 4401),
        (lambda client, token: miner_disable(miner_id="m1"), 4403),
        (lambda client, token: miner_issue_key(miner_id="m1"), 4401),
        (lambda client, token: miner_end_session(miner_id="m1"), 4401),
        (lambda client, token: miner_remove(miner_id="m1"), 4401),
        (lambda client, token: connections.end_all(), 4012),
    ],
)
def test_what_ends_a_session_closes_its_socket(client, act, code) -> None:
    async def play(socket: Socket) -> None:
        await database_sync_to_async(act, thread_sensitive=False)(client, token)
        assert await socket.receive() == {"close": code}
        await socket.send(beat(queue_len=5, ack=True))
        assert await socket.silent()

    token = register()
    run(play, lambda: Socket(token))


def test_a_registration_closes_no_socket_of_its_own_session() -> None:
    """What an earlier registration asks to close may come late, when the miner is back already."""

    async def play(socket: Socket) -> None:
        connections.end("m1", 4401, before=view().row.session)
        connections.end("nobody", 4401)
        assert await socket.silent()

    token = register()
    run(play, lambda: Socket(token))


def test_a_session_that_ended_elsewhere_is_4401_at_its_next_message(registry, time) -> None:
    async def play(socket: Socket) -> None:
        time.advance(121)  # silent for longer than the grace period
        await socket.send(beat(queue_len=3, ack=True))
        assert await socket.receive() == {"close": 4401}
        assert view().live.queue_len == 0

    token = register()
    run(play, lambda: Socket(token))


def test_a_message_touches_no_database(django_assert_num_queries) -> None:
    async def play(socket: Socket) -> None:
        await socket.send(beat(ack=True))
        await socket.receive()

    token = register()
    with django_assert_num_queries(0):
        run(play, lambda: Socket(token))


def test_heartbeats_are_counted() -> None:
    counter = HEARTBEATS.labels(transport="ws")
    before = counter._value.get()

    async def play(socket: Socket) -> None:
        for message in (beat(ack=True), "junk", beat(ack=True)):
            await socket.send(message)
            await socket.receive()

    token = register()
    run(play, lambda: Socket(token))
    assert counter._value.get() == before + 2
