"""Live mock miners at a real hub."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from miners.seeding import fleet
from miners.seeding.fleet import CannotRun, fleet_run
from miners.seeding.population import MinerSpec
from tests.hub import ROOT, LiveHub, wait_until_healthy
from tests.miners.seeding.fleets import Watcher, live_fleet, specs, until

pytestmark = pytest.mark.once

QUICK = {"SESSION_TTL_SEC": "1.5", "HEARTBEAT_GRACE_SEC": "600"}  # a heartbeat each half second; silence is forgiven
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def listed(hub: LiveHub, **filters: Any) -> dict[str, dict[str, Any]]:
    """The hub's miners by id."""
    answer = httpx.get(f"{hub.base}/v1/miners", params={"limit": 500, **filters}, headers=hub.admin)
    return {each["miner_id"]: each for each in answer.raise_for_status().json()["results"]}


def online(hub: LiveHub) -> int:
    return len(listed(hub, state="online"))


def register_elsewhere(hub: LiveHub, spec: MinerSpec) -> str:
    sent = {**spec.body(), "price_token_per_ksec": str(spec.price)}
    return httpx.post(f"{hub.base}/v1/miners/register", json=sent).raise_for_status().json()["session_token"]


def metric(hub: LiveHub, line: str) -> float:
    """0 where nothing was counted yet."""
    text = httpx.get(f"{hub.base}/v1/metrics").raise_for_status().text
    return float(next((each.rpartition(" ")[2] for each in text.splitlines() if each.startswith(line)), 0))


def seed_miners(hub: LiveHub, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MANAGE, "seed_miners", *args], env=hub.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def served_again(hub: LiveHub) -> LiveHub:
    with hub.log.open("ab") as sink:
        process = subprocess.Popen([*MANAGE, "serve"], env=hub.env, stdout=sink, stderr=subprocess.STDOUT)
    return replace(hub, process=process)


@asynccontextmanager
async def started_again(hub: LiveHub) -> AsyncIterator[LiveHub]:
    """On the same port and database, after the first process has ended."""
    again = served_again(hub)
    try:
        await asyncio.to_thread(wait_until_healthy, again)
        yield again
    finally:
        await asyncio.to_thread(again.stop)


def disable(hub: LiveHub, miner_id: str) -> None:
    """In the database, as an operator's script might while the hub is down."""
    code = f"from miners.models import Miner; Miner.objects.filter(miner_id='{miner_id}').update(disabled=True)"
    subprocess.run([*MANAGE, "shell", "--verbosity", "0", "-c", code], env=hub.env, check=True, timeout=60)


def test_the_command_holds_thirty_miners_whose_load_changes(start_hub) -> None:
    hub = start_hub(**QUICK)
    process = seed_miners(hub, "--live", "--count", "30", "--regions", "eu,us-east")
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "30 miners are live\n"
        first = listed(hub, state="online")
        assert set(first) == {spec.miner_id for spec in specs(30)}
        assert {each["region"] for each in first.values()} <= {
            "eu-west",
            "eu-central",
            "eu-north",
            "eu-east",
            "us-east",
        }

        def changed() -> bool:
            now = listed(hub, state="online")
            return all(
                any(
                    now[miner_id]["live"][name] != each["live"][name]
                    for each in first.values()
                    if (miner_id := each["miner_id"])
                )
                for name in ("queue_len", "temp_c", "mem_free_gb", "avg_latency_ms")
            )

        asyncio.run(until(changed))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("30 of 30 online, ")
    assert len(listed(hub)) == 30


def test_stopped_with_a_logout_they_are_offline_at_once(start_hub) -> None:
    hub = start_hub(**QUICK)
    process = seed_miners(hub, "--live", "--count", "5", "--logout", "--verbosity", "0")
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "5 miners are live\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "5 of 5 miners logged out\n", "")
    assert set(listed(hub, state="offline")) == {spec.miner_id for spec in specs(5)}


def test_for_a_duration_it_ends_by_itself(start_hub) -> None:
    process = seed_miners(start_hub(**QUICK), "--live", "--count", "5", "--duration", "0.5")
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_after_a_crash_of_the_hub_all_come_back_but_the_one_that_was_disabled(start_hub) -> None:
    hub = start_hub(**QUICK)

    async def play() -> None:
        async with live_fleet(specs(30), hub.base) as watcher:
            assert (watcher.online, watcher.up, online(hub)) == (30, 30, 30)
            await asyncio.to_thread(hub.stop, signal.SIGKILL)
            await asyncio.to_thread(disable, hub, "seed-00003")
            async with started_again(hub) as again:
                await until(lambda: watcher.tally and (watcher.tally.online, watcher.tally.stopped) == (29, 1))
                assert watcher.tally is not None
                assert watcher.tally.reconnects == 29
                assert watcher.lines == ["seed-00003 stops: disabled by an operator"]
                seen = {miner_id: each["live"]["last_seen"] for miner_id, each in listed(again).items()}
                await until(
                    lambda: all(
                        each["live"]["last_seen"] > seen[miner_id]
                        for miner_id, each in listed(again).items()
                        if miner_id != "seed-00003"
                    )
                )
            assert watcher.up == 30

    asyncio.run(play())


def test_a_hub_that_restarts_is_met_again_with_the_same_tokens(start_hub) -> None:
    hub = start_hub(**QUICK)

    async def play() -> None:
        async with live_fleet(specs(10), hub.base) as watcher:
            before = {miner_id: each["registered_at"] for miner_id, each in listed(hub).items()}
            assert await asyncio.to_thread(hub.stop) == 0
            async with started_again(hub) as again:
                await until(lambda: watcher.tally and watcher.tally.reconnects == watcher.tally.online == 10)
                assert {miner_id: each["registered_at"] for miner_id, each in listed(again).items()} == before
                assert watcher.lines == []

    asyncio.run(play())


def test_a_miner_whose_session_has_ended_registers_again(start_hub) -> None:
    hub = start_hub(**QUICK)
    first = specs(3)[0]

    async def play() -> None:
        async with live_fleet(specs(3), hub.base) as watcher:
            register_elsewhere(hub, first)
            registered_at = listed(hub)[first.miner_id]["registered_at"]
            await until(lambda: watcher.tally and watcher.tally.reconnects == 1 and watcher.tally.online == 3)
            assert listed(hub)[first.miner_id]["registered_at"] > registered_at
            assert watcher.lines == []

    asyncio.run(play())


def test_a_miner_that_another_connection_replaces_stops_and_says_so(start_hub, monkeypatch) -> None:
    hub, tokens = start_hub(**QUICK), []
    register = fleet.Hub.register

    async def noted(self: fleet.Hub, spec: MinerSpec) -> str:
        tokens.append(await register(self, spec))
        return tokens[-1]

    monkeypatch.setattr(fleet.Hub, "register", noted)

    async def play() -> None:
        async with live_fleet(specs(2), hub.base) as watcher:
            header = {"Authorization": f"Bearer {tokens[0]}"}
            with connect(f"{hub.ws_base}/v1/miners/heartbeat", additional_headers=header, proxy=None) as socket:
                welcome = json.loads(await asyncio.to_thread(socket.recv))
                await until(lambda: watcher.tally and watcher.tally.stopped == 1)
                assert watcher.lines == [
                    f"{welcome['miner_id']} stops: replaced by another connection of the same miner"
                ]
                assert watcher.tally is not None
                assert watcher.tally.online == 1

    asyncio.run(play())


def test_a_rate_limit_slows_them_down_and_refuses_none(start_hub) -> None:
    """12 registrations at 4 a second: three windows at least, and no storm of attempts in between."""
    hub = start_hub(**QUICK, RATELIMIT_REGISTER="4/s")

    async def play() -> None:
        async with live_fleet(specs(12), hub.base) as watcher:
            assert (watcher.online, watcher.lines) == (12, [])
            refused = await asyncio.to_thread(metric, hub, 'django_http_responses_total_by_status_total{status="429"}')
            # 12, then 8, then 4 ask at once; a window's edge may split one of them in two
            assert 1 <= refused <= 2 * (8 + 4)

    asyncio.run(play())


def test_miners_with_another_key_are_not_wanted_and_that_is_said_once(start_hub) -> None:
    hub = start_hub(**QUICK)
    for spec in specs(8):
        register_elsewhere(hub, spec)
    process = seed_miners(hub, "--live", "--count", "8", "--seed", "2")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("CommandError: the hub wants none of the miners: 401 ")
    assert err.count("\n") == 1
    assert out.count("stops: 401") == 5
    assert out.count("only counted") == 1


def test_where_no_hub_answers_it_ends_with_one_line(monkeypatch) -> None:
    monkeypatch.setattr(fleet, "HUB_LIMIT_S", 0.2)
    watcher = Watcher()

    async def play() -> None:
        await fleet_run(specs=specs(2), base="http://127.0.0.1:1", stop=asyncio.Event(), watch=watcher)

    with pytest.raises(CannotRun, match="no hub answers at http:"):
        asyncio.run(play())
    assert watcher.lines == ["no hub answers at http://127.0.0.1:1 yet; waiting up to 0.2 s"]


def test_it_stops_while_it_waits_for_a_hub() -> None:
    watcher = Watcher()

    async def play() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(fleet_run(specs=specs(2), base="http://127.0.0.1:1", stop=stop, watch=watcher))
        await until(lambda: watcher.lines)
        stop.set()
        async with asyncio.timeout(5):
            await running

    asyncio.run(play())


def test_files_are_allowed_as_far_as_the_system_lets() -> None:
    code = (
        "import resource as r; from miners.seeding.fleet import *\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 2000)); allow_sockets(1000); print(r.getrlimit(r.RLIMIT_NOFILE))\n"
        "try: allow_sockets(5000)\n"
        "except CannotRun as error: print(error)\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (1900, 2000)); allow_sockets(10); print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    first, refused, last = done.stdout.splitlines()
    assert (first, last) == ("(1096, 2000)", "(1900, 2000)")
    assert refused == "5,000 sockets need 5,096 open files, and ulimit -Hn allows 2,000"


def test_more_than_one_address_can_call_from_are_refused() -> None:
    with pytest.raises(CannotRun, match="at most 25,000"):
        fleet.allow_sockets(25_001)
