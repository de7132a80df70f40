"""Commands on the way to a miner's socket, and its answers on the way back."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from miners import limits
from miners.models import Miner, MinerCommand
from miners.services import delivery as module
from miners.services.commands import command_args, command_create
from miners.services.delivery import CHUNK, commands_expire, delivery
from miners.services.operators import miner_disable
from poolhub.common import clock
from tests.miners.builders import ADMIN, post, register
from tests.miners.sockets import Socket, beat, run

pytestmark = pytest.mark.django_db(transaction=True)
deliver = sync_to_async(delivery.run)


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    yield
    delivery.__init__()  # type: ignore[misc]


def command(name: str = "drain", miner_id: str = "m1", **args: Any) -> uuid.UUID:
    return command_create(miner_id=miner_id, name=name, args=command_args(name, args)).id


def stored(command_id: uuid.UUID) -> tuple[str, str]:
    kept = MinerCommand.objects.get(pk=command_id)
    return kept.status, kept.detail


async def told(socket: Socket) -> list[dict[str, Any]]:
    """The commands that the hub now sends."""
    await deliver()
    found = []
    while not await socket.silent():
        found.append(await socket.receive())
    return found


async def ids(socket: Socket) -> list[str]:
    return [each["id"] for each in await told(socket)]


acommand, astored = sync_to_async(command), sync_to_async(stored)


def acked(command_id: object, *, ok: object = True, **fields: Any) -> dict[str, Any]:
    return {"type": "command.ack", "id": str(command_id), "ok": ok, **fields}


def test_a_command_that_waited_comes_after_the_welcome(time) -> None:
    token = register()
    first = command("set_price_cap", price=0.3)

    async def play(socket: Socket) -> None:
        assert await told(socket) == [
            {"type": "command", "id": str(first), "name": "set_price_cap", "args": {"price": 0.3}}
        ]
        await deliver()
        kept = await MinerCommand.objects.aget(pk=first)
        assert (kept.status, kept.sent_at.timestamp()) == ("sent", time.now())

    run(play, lambda: Socket(token))


def test_commands_keep_their_order_though_the_clock_goes_back(time) -> None:
    token = register()
    made = []
    for name in ("drain", "resume", "reregister", "drain"):
        time.advance(-1)
        made.append(str(command(name)))

    async def play(socket: Socket) -> None:
        assert await ids(socket) == made
        made.append(str(await acommand("resume")))
        assert await ids(socket) == made[-1:]

    run(play, lambda: Socket(token))


def test_an_answer_ends_the_command_and_renews_the_lease(time) -> None:
    token = register()
    done, failed = command("drain"), command("reregister")

    async def play(socket: Socket) -> None:
        assert len(await told(socket)) == 2
        await socket.send(acked(done))
        await socket.send(acked(failed, ok=False, detail="busy"))
        assert await socket.silent()
        await deliver()
        assert (await astored(done), await astored(failed)) == (("acked", ""), ("failed", "busy"))
        kept = await MinerCommand.objects.aget(pk=done)
        assert kept.ended_at.timestamp() == time.now()
        time.advance(100)
        await socket.send(acked(done))
        assert await socket.silent()
        time.advance(100)
        await socket.send(beat(ack=True))
        assert (await socket.receive())["type"] == "ack"

    run(play, lambda: Socket(token))


def test_what_is_not_answered_comes_again_over_the_next_socket_with_its_id_and_only_there() -> None:
    token = register()
    answered, open_one = command("drain"), command("resume")

    async def main() -> None:
        for expected in ([str(answered), str(open_one)], [str(open_one)], []):
            socket = Socket(token)
            assert (await socket.open())["type"] == "welcome"
            assert await ids(socket) == expected
            delivery.ask("m1")
            assert await ids(socket) == []
            for each in expected[:1]:
                await socket.send(acked(each))
                assert await socket.silent()
            await deliver()
            await socket.leave()

    asyncio.run(main())


def test_the_first_answer_counts() -> None:
    token = register()
    made = command()

    async def play(socket: Socket) -> None:
        await told(socket)
        await socket.send(acked(made, ok=False, detail="first"))
        await socket.send(acked(made))
        assert await socket.silent()
        await deliver()
        await socket.send(acked(made))
        assert await socket.silent()
        await deliver()
        assert await astored(made) == ("failed", "first")

    run(play, lambda: Socket(token))


def test_nobody_answers_for_another_miner() -> None:
    token = register()
    register("m2")
    made = command(miner_id="m2")

    async def play(socket: Socket) -> None:
        await socket.send(acked(made))
        assert await socket.silent()
        assert await told(socket) == []
        assert await astored(made) == ("pending", "")

    run(play, lambda: Socket(token))


@pytest.mark.parametrize(
    "junk",
    [
        {"type": "command.ack", "ok": True},
        {"type": "command.ack", "id": str(uuid.uuid4())},
        acked("1"),
        acked(f"{{{uuid.uuid4()}}}"),
        acked(uuid.uuid4(), ok=1),
        acked(uuid.uuid4(), detail="x" * 501),
        acked(uuid.uuid4(), detail="a\u202eb"),
        acked(uuid.uuid4(), detail="\0"),
        {"type": "command", "id": str(uuid.uuid4()), "ok": True, "x": "command.ack"},
    ],
)
def test_an_answer_that_cannot_be_read_gets_an_error_and_changes_nothing(junk) -> None:
    token = register()
    made = command()

    async def play(socket: Socket) -> None:
        await told(socket)
        await socket.send(junk)
        assert (await socket.receive())["type"] == "error"
        await deliver()
        assert await astored(made) == ("sent", "")
        await socket.send(acked(made))
        assert await socket.silent()
        await deliver()
        assert await astored(made) == ("acked", "")

    run(play, lambda: Socket(token))


def test_an_answer_to_nothing_that_is_known_is_passed_over() -> None:
    token = register()

    async def play(socket: Socket) -> None:
        await socket.send(acked(uuid.uuid4()))
        await socket.send(beat(ack=True, note="command.ack"))
        assert (await socket.receive())["type"] == "ack"
        await deliver()

    run(play, lambda: Socket(token))


def test_a_command_expires_and_is_not_sent_then(time, settings) -> None:
    settings.COMMAND_TTL_SEC = 50.0
    token = register()
    late, sent = command("drain"), command("resume")
    MinerCommand.objects.filter(pk=sent).update(status="sent")
    time.advance(49)
    assert commands_expire() == 0
    time.advance(1)

    async def play(socket: Socket) -> None:
        assert await told(socket) == []
        assert await sync_to_async(commands_expire)() == 2
        kept = await MinerCommand.objects.aget(pk=late)
        assert (kept.status, kept.ended_at.timestamp()) == ("expired", time.now())
        await socket.send(acked(late))
        assert await socket.silent()
        await deliver()
        assert await astored(late) == ("expired", "")

    run(play, lambda: Socket(token))


def test_a_new_command_that_nobody_told_of_is_found(time) -> None:
    token = register()

    async def play(socket: Socket) -> None:
        assert await told(socket) == []
        miner = await Miner.objects.aget()
        made = await MinerCommand.objects.acreate(
            miner=miner, name="reregister", created_at=clock.to_datetime(time.now()),
            expires_at=clock.to_datetime(time.now() + 60),
        )  # fmt: skip
        assert await ids(socket) == []
        await sync_to_async(delivery.look)()
        assert await ids(socket) == [str(made.pk)]

    run(play, lambda: Socket(token))


def test_what_could_not_be_written_or_read_is_tried_again(monkeypatch) -> None:
    token = register()
    made = command()

    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    async def play(socket: Socket) -> None:
        for name in ("commands_open", "commands_write"):
            with monkeypatch.context() as patched:
                patched.setattr(module, name, away)
                if name == "commands_write":
                    await socket.send(acked(made))
                    assert await socket.silent()
                with pytest.raises(OperationalError):
                    await deliver()
            if name == "commands_open":
                assert await ids(socket) == [str(made)]
        await deliver()
        assert await astored(made) == ("acked", "")

    run(play, lambda: Socket(token))


@pytest.mark.parametrize("name", ["commands_unheard", "commands_open", "commands_write"])
def test_a_socket_does_not_wait_while_the_database_does(monkeypatch, name) -> None:
    token = register()
    made = command()
    waits, go = threading.Event(), threading.Event()
    reached = getattr(module, name)

    def hangs(*args: Any) -> Any:
        waits.set()
        assert go.wait(10)
        return reached(*args)

    async def play(socket: Socket) -> None:
        await told(socket)
        monkeypatch.setattr(module, name, hangs)
        delivery.ask("m1")
        delivery.sent(made)
        work = delivery.look if name == "commands_unheard" else delivery.run
        working = asyncio.ensure_future(sync_to_async(work)())
        try:
            assert await asyncio.to_thread(waits.wait, 10)
            await socket.send(acked(made))
            await socket.send(beat(ack=True))
            assert (await socket.receive())["type"] == "ack"
        finally:
            go.set()
        await working

    run(play, lambda: Socket(token))


def test_a_closed_socket_is_told_nothing_and_the_command_waits() -> None:
    token = register()

    async def main() -> None:
        socket = Socket(token)
        await socket.open()
        made = await acommand("reregister")
        await sync_to_async(miner_disable)(miner_id="m1")
        assert await socket.receive() == {"close": 4403}
        assert await told(socket) == []
        assert await astored(made) == ("pending", "")
        await socket.leave()

    asyncio.run(main())


def test_a_session_that_ended_answers_nothing(registry) -> None:
    token = register()
    made = command()

    async def main() -> None:
        socket = Socket(token)
        await socket.open()
        await told(socket)
        registry.remove("m1")
        await socket.send(acked(made))
        assert await socket.receive() == {"close": 4401}
        await deliver()
        assert await astored(made) == ("sent", "")
        await socket.leave()

    asyncio.run(main())


def test_waiting_commands_of_many_miners_are_read_in_few_queries(django_assert_max_num_queries) -> None:
    register()
    Miner.objects.bulk_create(Miner(miner_id=f"x{i}") for i in range(CHUNK))
    expires_at = clock.to_datetime(clock.now() + 60)
    MinerCommand.objects.bulk_create(
        MinerCommand(miner=each, name="drain", number=i, expires_at=expires_at)
        for each in Miner.objects.all()
        for i in (2, 1)
    )
    with django_assert_max_num_queries(1):
        found = dict(module.commands_open([f"x{i}" for i in range(CHUNK)]))
    assert len(found) == CHUNK
    assert {len(commands) for commands in found.values()} == {2}


def test_too_many_commands_that_nobody_answers_are_409_and_change_nothing(admin, monkeypatch) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN_COMMANDS", 2)
    register()
    url = "/v1/miners/m1/commands"
    first, _ = (post(admin, url, {"name": "resume"}).json()["id"] for _ in range(2))
    reply = post(admin, url, {"name": "drain"}, **ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
    assert not Miner.objects.get().operator_drain
    MinerCommand.objects.filter(pk=first).update(status="acked")
    assert post(admin, url, {"name": "drain"}).status_code == 201
