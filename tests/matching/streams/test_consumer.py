"""WS /v1/match/stream, in process."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest

from matching import consumers
from matching.consumers import MAX_SUBSCRIPTIONS, MatchStreamConsumer, subscriptions
from matching.models import MatchRecord
from matching.records import records
from poolhub.common.metrics import MATCH_REQUESTS, STREAM_RANKINGS
from tests.matching.builders import SECRET, add, match, own, tokens
from tests.miners.sockets import Socket
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


class Stream(Socket):
    """A coordinator's end of a stream."""

    consumer = MatchStreamConsumer
    path = "/v1/match/stream"

    def __init__(self, secret: str | None = SECRET, *, address: str = "127.0.0.1") -> None:
        headers = [] if secret is None else [(b"x-coordinator-secret", secret.encode("latin-1"))]
        self._connect("", headers, (address, 1))

    async def accepted(self) -> None:
        await self.app.send_input({"type": "websocket.connect"})
        assert await self.app.receive_output(5) == {"type": "websocket.accept"}

    async def ask(self, kind: str | None, name: str | None = "1", **body: Any) -> Any:
        await self.send({"type": kind, "id": name, **body})
        return await self.receive()

    async def quiet(self, seconds: float = 0.3) -> bool:
        return await self.app.receive_nothing(seconds)


def run(play: Callable[[Stream], Awaitable[None]], **how: Any) -> None:
    async def main() -> None:
        stream = Stream(**how)
        await stream.accepted()
        await play(stream)
        await stream.leave()
        assert len(subscriptions) == 0

    asyncio.run(main())


async def there(act: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """Beside the event loop, as another client's request."""
    return await asyncio.to_thread(act, *args, **fields)


def ids(told: dict[str, Any]) -> list[str]:
    return [each["miner_id"] for each in told["candidates"]]


# ---- who may


@pytest.mark.parametrize(
    ("how", "changes", "code"),
    [
        ({"secret": None}, {}, 4401),
        ({"secret": "wrong"}, {}, 4401),
        ({"secret": "\xff"}, {}, 4401),
        ({}, {"COORDINATOR_SHARED_SECRET": ()}, 4503),
        ({"address": "192.0.2.1"}, {"COORDINATOR_ALLOWLIST": (ip_network("10.0.0.0/8"),)}, 4403),
    ],
)
def test_who_may_not_is_told_by_a_code(settings, how, changes, code) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)

    async def play(stream: Stream) -> None:
        assert await stream.receive() == {"close": code}
        await stream.send({"type": "match", "id": "1", "job_id": "j"})
        assert await stream.quiet(0.05)

    run(play, **how)


# ---- matches


def test_a_match_is_answered_as_over_http(client) -> None:
    add("a", price=tokens(0.5))
    add("b", price=tokens(0.1))
    wanted = match(client, "j1", top_k=2, dry_run=True)

    async def play(stream: Stream) -> None:
        told = await stream.ask("match", "m1", job_id="j1", top_k=2, dry_run=True)
        assert told == {"type": "match.result", "id": "m1", **wanted}

    run(play)


def test_a_match_holds_and_is_recorded_and_counted_as_over_http() -> None:
    add("a", max_parallel=1)
    before = MATCH_REQUESTS.labels(outcome="matched")._value.get()

    async def play(stream: Stream) -> None:
        assert ids(await stream.ask("match", job_id="j1")) == ["a"]
        assert ids(await stream.ask("match", job_id="j2")) == []
        told = await stream.ask("match", job_id="j1", reserve=True)
        assert told["reservation"]["miner_id"] == "a"

    run(play)
    assert own("a") == 1
    assert MATCH_REQUESTS.labels(outcome="matched")._value.get() == before + 2
    records.flush()
    assert MatchRecord.objects.filter(job_id="j1").count() == 2


def test_matches_over_the_rate_are_refused_and_the_stream_stays(settings) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.RATELIMIT_MATCH = "2/h"

    async def play(stream: Stream) -> None:
        told = [await stream.ask("match", str(i), job_id="j") for i in range(3)]
        assert [each["type"] for each in told] == ["match.result", "match.result", "error"]
        assert told[2]["code"] == "too_many_requests"

    run(play, address="198.51.100.77")


# ---- messages that are wrong


@pytest.mark.parametrize(
    ("message", "name", "code"),
    [
        ("nonsense", None, "malformed_json"),
        ("[" * 5000, None, None),
        ({"type": "dance", "id": "9"}, "9", "unknown_type"),
        ({"id": "9"}, "9", "unknown_type"),
        ({"type": "match", "job_id": "j"}, None, "missing_id"),
        ({"type": "subscribe", "job_id": "j", "id": None}, None, "missing_id"),
        ({"type": "match", "id": 9, "job_id": "j"}, None, "invalid_type"),
        ({"type": "match", "id": "9"}, "9", "required"),
        ({"type": "subscribe", "id": "9", "job_id": "j", "top_k": 0}, "9", "out_of_range"),
        ({"type": "subscribe", "id": "9", "job_id": "j", "hints": {"regoin": "eu"}}, "9", "unknown_field"),
    ],
)
def test_a_message_that_is_wrong_gets_an_error_and_ends_nothing(message, name, code) -> None:
    async def play(stream: Stream) -> None:
        await stream.send(message)
        told = await stream.receive()
        assert (told["type"], told["id"]) == ("error", name)
        assert told["detail"]
        assert code is None or told["code"] == code
        assert (await stream.ask("match", job_id="j"))["type"] == "match.result"

    run(play)


def test_a_validation_error_names_its_fields() -> None:
    async def play(stream: Stream) -> None:
        told = await stream.ask("match", "9", job_id="j", top_k=0, hints={"max_price": -1})
        assert {each["field"] for each in told["errors"]} == {"top_k", "hints.max_price"}

    run(play)


def test_binary_frames_and_messages_too_large() -> None:
    async def play(stream: Stream) -> None:
        await stream.app.send_input({"type": "websocket.receive", "bytes": b"{}"})
        assert (await stream.receive())["code"] == "binary_message"
        await stream.send("x" * (consumers.MAX_MESSAGE_BYTES + 1))
        assert await stream.receive() == {"close": 4413}

    run(play)


# ---- subscriptions


def test_a_subscription_is_told_at_once_and_with_every_change_and_holds_nothing() -> None:
    add("a", price=tokens(0.5))

    async def play(stream: Stream) -> None:
        told = await stream.ask("subscribe", "s", job_id="j", top_k=2, reserve=True)
        assert {"type": "match.update", "id": "s", "seq": 0, "job_id": "j"}.items() <= told.items()
        assert ids(told) == ["a"]
        assert {"explain", "considered", "eligible", "rejected"} <= told.keys()
        assert "reservation" not in told
        await there(add, "b", price=tokens(0.1))
        told = await stream.receive()
        assert (told["seq"], ids(told)) == (1, ["b", "a"])
        assert await stream.quiet()
        assert (own("a"), own("b")) == (0, 0)

    run(play)
    records.flush()
    assert not MatchRecord.objects.exists()


def test_after_unsubscribe_nothing_comes() -> None:
    async def play(stream: Stream) -> None:
        assert ids(await stream.ask("subscribe", "s", job_id="j")) == []
        await stream.send({"type": "unsubscribe", "id": "s"})
        await stream.send({"type": "unsubscribe", "id": "never was"})
        await there(add, "a")
        assert await stream.quiet()

    run(play)


def test_a_subscription_of_the_same_id_takes_the_place_of_the_one_before() -> None:
    add("a", region="eu")
    add("b", region="us")

    async def play(stream: Stream) -> None:
        assert ids(await stream.ask("subscribe", "s", job_id="j", hints={"region": "eu"})) == ["a"]
        told = await stream.ask("subscribe", "s", job_id="j", hints={"region": "us"})
        assert (ids(told), told["seq"]) == (["b"], 1)
        await there(add, "c", region="eu", price=0)
        assert await stream.quiet()

    run(play)


def test_a_connection_has_so_many_subscriptions_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(consumers, "MAX_SUBSCRIPTIONS", 3)
    assert MAX_SUBSCRIPTIONS == 100

    async def play(stream: Stream) -> None:
        for name in "abc":
            assert (await stream.ask("subscribe", name, job_id="j"))["id"] == name
        told = await stream.ask("subscribe", "d", job_id="j")
        assert (told["type"], told["id"], told["code"]) == ("error", "d", "too_many_subscriptions")
        assert (await stream.ask("subscribe", "a", job_id="j"))["type"] == "match.update"
        await stream.send({"type": "unsubscribe", "id": "b"})
        assert (await stream.ask("subscribe", "d", job_id="j"))["type"] == "match.update"

    run(play)


def test_what_has_ended_leaves_nothing_behind() -> None:
    made: list[MatchStreamConsumer] = []

    class Seen(MatchStreamConsumer):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    class SeenStream(Stream):
        consumer = Seen

    async def main() -> None:
        stream = SeenStream()
        await stream.accepted()
        for turn in range(20):
            assert (await stream.ask("subscribe", f"s{turn}", job_id="j"))["seq"] == 0
            await stream.send({"type": "unsubscribe", "id": f"s{turn}"})
        assert (await stream.ask("subscribe", "s0", job_id="j"))["seq"] == 0
        (one,) = made
        assert [len(each) for each in (one._held, one._counts, one._newest)] == [1, 1, 0]
        await stream.leave()

    asyncio.run(main())


def test_a_slow_reader_gets_the_newest_state_and_nothing_waits_for_it_but_that() -> None:
    add("a", price=tokens(0.5))
    taken, go = [], asyncio.Event()

    class Slow(MatchStreamConsumer):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                taken.append(json.loads(message["text"]))
                await go.wait()

    class SlowStream(Stream):
        consumer = Slow

    async def main() -> None:
        stream = SlowStream()
        await stream.accepted()
        await stream.send({"type": "subscribe", "id": "s", "job_id": "j", "top_k": 1})
        await stream.receive()
        for turn in range(8):
            before = STREAM_RANKINGS._value.get()
            await there(add, f"b{turn}", price=tokens(0.4 - turn / 100))
            await there(until, lambda: STREAM_RANKINGS._value.get() > before)  # noqa: B023
        assert len(taken) == 1
        go.set()
        told = await stream.receive()
        assert (told["seq"], ids(told)) == (1, ["b7"])
        assert await stream.quiet()
        await stream.leave()

    asyncio.run(main())
    assert len(subscriptions) == 0


def test_the_thread_that_ranks_ends_with_the_last_subscription() -> None:
    async def play(stream: Stream) -> None:
        await stream.ask("subscribe", "s", job_id="j")
        assert "hub-streams" in {each.name for each in threading.enumerate()}

    run(play)
    for each in threading.enumerate():
        if each.name == "hub-streams":
            each.join(10)
    assert "hub-streams" not in {each.name for each in threading.enumerate()}
