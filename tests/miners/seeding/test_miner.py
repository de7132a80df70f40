"""What a mock miner does, beside a hub that says what these tests have it say."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from miners.seeding.hub import Hub
from miners.seeding.load import Load
from miners.seeding.miner import MockMiner
from miners.seeding.tally import Tally
from tests.miners.seeding.fleets import Watcher, specs
from tests.miners.seeding.scripted import Answer, Gone, Peer, Script, ScriptedHub, serving

pytestmark = pytest.mark.pure

LIMIT_S = 20.0
NEVER_S = 3600  # a rhythm in which the second heartbeat does not come


class Played:
    hub: ScriptedHub
    tally: Tally
    ended: bool  # the miner by itself, before the scripts were over


def play(*scripts: Script, answers: list[Answer] | None = None) -> Played:
    """One miner, until the last script is over or the miner stops."""
    played = Played()

    async def main() -> None:
        played.hub, played.tally = ScriptedHub(*scripts, answers=answers), Tally(1, Watcher())
        async with serving(played.hub) as base, Hub(base, rng=Random(1)) as hub:
            miner = asyncio.create_task(MockMiner(specs(1)[0], hub, played.tally, Random(1)).run())
            over = asyncio.create_task(played.hub.over.wait())
            async with asyncio.timeout(LIMIT_S):
                await asyncio.wait((miner, over), return_when=asyncio.FIRST_COMPLETED)
            played.ended = miner.done()
            if played.ended:
                miner.result()
            for task in (miner, over):
                task.cancel()
            await asyncio.gather(miner, over, return_exceptions=True)

    asyncio.run(main())
    return played


async def plain(peer: Peer) -> None:
    await peer.welcome(NEVER_S)
    await peer.heard()


def closing(code: int) -> Script:
    async def script(peer: Peer) -> None:
        await plain(peer)
        await peer.close(code)

    return script


def test_it_registers_with_its_profile_and_reports_its_load_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(NEVER_S)
        beat = await peer.heard()
        assert set(beat) == {"ts", "queue_len", "busy", "avg_latency_ms", "temp_c", "mem_free_gb"}

    played = play(script)
    ((_, path, sent),) = played.hub.requests
    assert path == "/v1/miners/register"
    assert (sent["miner_id"], sent["gpu_vram"], sent["price_token_per_ksec"]) == ("seed-00001", 24, 1.1715)
    assert played.hub.tokens == ["token-1"]
    assert (played.tally.beats, played.tally.live, played.ended) == (1, True, False)


def test_heartbeats_keep_the_rhythm_of_the_welcome() -> None:
    """Each of 0.2 s comes after 0.18 to 0.2 s; a slow machine may add to that."""

    async def script(peer: Peer) -> None:
        await peer.welcome(0.2)
        await peer.heard()
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            await peer.heard()
        assert 5 * 0.18 - 0.05 < asyncio.get_running_loop().time() - began < 5

    play(script)


def test_a_hub_that_says_no_rhythm_is_not_flooded() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(type="welcome")
        await peer.heard()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.heard(), 0.5)

    assert play(script).tally.beats == 1


def test_a_quicker_pace_holds_at_once() -> None:
    async def script(peer: Peer) -> None:
        await plain(peer)
        await peer.say(type="pace", next_heartbeat_sec=0.05, lease_ttl_sec=60)
        await peer.heard()
        await peer.heard()

    assert play(script).tally.beats >= 3


def test_a_slower_pace_ends_the_quicker_one() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(0.05)
        await peer.heard()
        await peer.say(type="pace", next_heartbeat_sec=NEVER_S, lease_ttl_sec=NEVER_S)
        heard = 0
        try:
            async with asyncio.timeout(1):
                while True:
                    await peer.heard()
                    heard += 1
        except TimeoutError:
            assert heard < 5  # those that were due when it came; at the old pace there were 20

    play(script)


def test_commands_are_acknowledged_every_time_they_come() -> None:
    async def script(peer: Peer) -> None:
        await plain(peer)
        for _ in range(2):
            await peer.say(type="command", id="c1", name="set_price_cap", args={"price": 0.3})
            assert await peer.heard() == {"type": "command.ack", "id": "c1", "ok": True}

    assert play(script).hub.issued == 1


def test_a_miner_that_is_drained_takes_no_jobs_until_it_is_told_to_go_on(monkeypatch) -> None:
    draining = []
    reading = Load.reading
    monkeypatch.setattr(Load, "reading", lambda self, now: draining.append(self.draining) or reading(self, now))

    async def script(peer: Peer) -> None:
        await peer.welcome(0.05)
        await peer.heard()
        for name in ("drain", "resume"):
            await peer.say(type="command", id=name, name=name, args={})
            while (await peer.heard()).get("type") != "command.ack":
                pass
            await peer.heard()

    play(script)
    assert (draining[0], True in draining, draining[-1]) == (False, True, False)


def test_told_to_register_again_it_acknowledges_first_and_comes_with_a_new_token() -> None:
    async def first(peer: Peer) -> None:
        await plain(peer)
        await peer.say(type="command", id="c1", name="reregister", args={})
        assert (await peer.heard())["type"] == "command.ack"
        with pytest.raises(Gone):
            await peer.heard()

    played = play(first, plain)
    assert played.hub.tokens == ["token-1", "token-2"]
    assert played.tally.reconnects == 1


def test_what_is_no_message_and_what_the_hub_complains_of_is_counted() -> None:
    async def script(peer: Peer) -> None:
        await plain(peer)
        for text in ("no json", "[1]", '{"type":7}', '{"type":"error","code":"x","detail":"y"}', '{"type":"news"}'):
            await peer.say(text)
        await peer.say(type="command", id="last", name="resume", args={})
        assert (await peer.heard())["id"] == "last"

    assert play(script).tally.errors == 4


@pytest.mark.parametrize(
    ("code", "tokens"),
    [
        (1000, ["token-1", "token-1"]),
        (1011, ["token-1", "token-1"]),
        (1012, ["token-1", "token-1"]),
        (4012, ["token-1", "token-1"]),
        (4429, ["token-1", "token-1"]),
        (4401, ["token-1", "token-2"]),
    ],
)
def test_after_a_close_it_comes_back_with_the_token_that_lives(code, tokens) -> None:
    assert play(closing(code), plain).hub.tokens == tokens


@pytest.mark.parametrize("code", [4403, 4409])
def test_told_that_it_is_not_wanted_it_stops(code) -> None:
    played = play(closing(code), plain)
    assert (played.ended, played.hub.tokens, played.tally.stopped, played.tally.online) == (True, ["token-1"], 1, 0)


def test_a_session_that_never_lives_is_not_begun_in_a_storm() -> None:
    """Each pause is in the upper half of 0.5, 1 and 2 s."""

    async def ended(peer: Peer) -> None:
        await peer.close(4401)

    played = play(ended, ended, ended, plain)
    times = [at for at, _, _ in played.hub.requests]
    for least_s, (before, after) in zip((0.25, 0.5, 1.0), pairwise(times), strict=True):
        assert after - before >= least_s
    assert played.tally.reconnects == 0


def test_a_429_is_waited_out_for_as_long_as_it_says() -> None:
    played = play(plain, answers=[(429, {"Retry-After": "1"}, {})])
    first, second = (at for at, _, _ in played.hub.requests)
    assert second - first >= 1


def test_a_hub_that_fails_is_asked_again() -> None:
    played = play(plain, answers=[(503, {"Retry-After": "1"}, {}), (500, {}, {"detail": "sorry"})])
    times = [at for at, _, _ in played.hub.requests]
    assert len(times) == 3
    assert times[1] - times[0] >= 1
    assert played.hub.tokens == ["token-1"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((403, {}, {"detail": "this miner is disabled by an operator"}), "403 this miner is disabled by an operator"),
        ((422, {}, "not a problem object"), "422 Unprocessable Entity"),
        ((200, {}, {"hello": "world"}), "200 without a session token: that is no hub"),
        (
            (401, {}, {"detail": "wrong"}),
            "401 wrong (made with another --seed, or enrolment is closed: then make them without --live first)",
        ),
    ],
)
def test_a_refusal_ends_the_miner_with_the_hubs_reason(answer, reason) -> None:
    played = play(plain, answers=[answer])
    assert (played.ended, dict(played.tally.reasons), len(played.hub.requests)) == (True, {reason: 1}, 1)
