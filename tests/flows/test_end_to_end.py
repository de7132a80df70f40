"""A pool's life on real hubs: miners come, are matched and judged, leave; and hubs end and start again."""

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.flows.callers import AdminSession, Coordinator, Miner, Operator
from tests.hub import LiveHub, fresh_database, fresh_redis, running_hub
from tests.waiting import until

SECRETS = {
    "SECRET_KEY": "k3" * 25,
    "API_KEY_PEPPER": "p7" * 16,
    "COORDINATOR_SHARED_SECRET": "end-to-end-coordinator",
    "ADMIN_SHARED_SECRET": "end-to-end-admin-secret",
}


def test_miners_come_are_ranked_and_judged_and_leave(live_hub: LiveHub) -> None:
    region, coordinator = "flow-ranking", Coordinator(live_hub)
    prices = {"flow-a": 0.2, "flow-b": 0.4, "flow-c": 0.6, "flow-d": 0.8}
    miners = {
        name: Miner(live_hub, name, region=region, max_parallel=4, price_token_per_ksec=price)
        for name, price in prices.items()
    }
    assert [miner.register() for miner in miners.values()] == [201] * 4
    a, b, c, _ = miners.values()

    # nothing but the price tells them apart: 1 − p/0.8 gives 0.75, 0.5, 0.25 and 0
    first = coordinator.look(region)
    assert [each["miner_id"] for each in first["candidates"]] == [*prices]
    assert [each["components"]["price"] for each in first["candidates"]] == [0.75, 0.5, 0.25, 0]
    assert first["explain"] == "cap=1.00 • price=0.75 • latency=0.50 • trust=0.50 • load=0.80"
    assert first["eligible"] == 4

    # c is heard to be quick, over its socket; b slow, over HTTP
    with c.socket() as socket:
        c.beat(socket, avg_latency_ms=10)
        assert b.post("heartbeat", {"queue_len": 0, "avg_latency_ms": 900}).status_code == 200
        # of the two whose latency is known: 1 − 0/2 and 1 − 1/2; ranks may be a second old
        want = {"flow-a": 0.5, "flow-b": 0.5, "flow-c": 1, "flow-d": 0.5}
        until(lambda: coordinator.components(region, "latency") == want)
        # 0.40 + 0.2·0.25 + 0.2·1 + 0.15·0.5 + 0.05·0.8 = 0.765 against 0.40 + 0.2·0.5 + 0.2·0.5 + 0.115 = 0.715
        assert coordinator.ranking(region) == ["flow-a", "flow-c", "flow-b", "flow-d"]

        # a fails its jobs: 2/(4+2), 2/(4+4), 2/(4+6)
        assert [coordinator.feedback(f"flow-fail-{job}", "flow-a", "failed") for job in range(3)] == [
            0.333333,
            0.25,
            0.2,
        ]
        # d does its own well: (2+n)/(4+n)
        trusted = [coordinator.feedback(f"flow-done-{job}", "flow-d", "completed", latency_ms=50) for job in range(6)]
        assert trusted == [0.6, 0.666667, 0.714286, 0.75, 0.777778, 0.8]
        # its latency is the hub's own mean now, 50 ms: between c's and b's, so 1 − 1/3, and b's 1 − 2/3
        until(lambda: coordinator.components(region, "latency")["flow-d"] == 0.666667)
        # c 0.765; a 0.40 + 0.15 + 0.10 + 0.15·0.2 + 0.04 = 0.72; d 0.40 + 0 + 0.133 + 0.15·0.8 + 0.04 = 0.693;
        # b 0.40 + 0.10 + 0.067 + 0.075 + 0.04 = 0.682
        assert coordinator.ranking(region) == ["flow-c", "flow-a", "flow-d", "flow-b"]

        # a full house: c reports four jobs
        c.beat(socket, queue_len=4)
        told = coordinator.look(region)
        assert [each["miner_id"] for each in told["candidates"]] == ["flow-a", "flow-d", "flow-b"]
        assert told["rejected"]["capacity"] == 1
        c.beat(socket, queue_len=0)

    # b drains by itself, a logs out
    assert b.post("update", {"draining": True}).json()["status"] == "draining"
    assert a.post("logout").status_code == 204
    assert coordinator.ranking(region) == ["flow-c", "flow-d"]
    assert a.post("lease/renew").status_code == 401
    why = coordinator.post("match/why-not", {"job_id": "look", "miner_id": "flow-a", "hints": {"region": region}})
    assert [each["constraint"] for each in why["failed"]] == ["offline"]
    assert a.register() == 200
    assert coordinator.ranking(region) == ["flow-c", "flow-a", "flow-d"]


def test_jobs_at_once_are_spread_and_never_overbook(live_hub: LiveHub) -> None:
    region, coordinator = "flow-spread", Coordinator(live_hub)
    for number in range(3):
        Miner(live_hub, f"flow-s{number}", region=region, max_parallel=2).register()
    held = [coordinator.match(f"flow-hold-{job}", region)["candidates"] for job in range(7)]
    firsts = [each[0]["miner_id"] for each in held if each]
    assert {name: firsts.count(name) for name in firsts} == {"flow-s0": 2, "flow-s1": 2, "flow-s2": 2}
    assert held[6] == []
    for job, name in enumerate(firsts):
        coordinator.feedback(f"flow-hold-{job}", name, "rejected")  # which ends the hold
    granted = [coordinator.match(f"flow-reserve-{job}", region, reserve=True) for job in range(7)]
    assert sorted(each["reservation"]["miner_id"] for each in granted[:6]) == sorted(firsts)
    assert "reservation" not in granted[6]
    assert granted[6]["rejected"]["capacity"] == 3
    coordinator.feedback("flow-reserve-0", granted[0]["reservation"]["miner_id"], "completed")
    again = coordinator.match("flow-reserve-6", region, reserve=True)
    assert again["reservation"]["miner_id"] == granted[0]["reservation"]["miner_id"]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of hubs that follow one another on one database."""
    with fresh_database(migrated=True) as dsn:
        yield {**SECRETS, "DB_DSN": dsn, "REDIS_URL": fresh_redis()}


def shown(candidate: dict[str, Any]) -> dict[str, Any]:
    names = ("miner_id", "addr", "proto", "price", "region", "gpu_name", "explain")
    return {name: candidate[name] for name in names}


def known_of(miner: dict[str, Any]) -> dict[str, Any]:
    names = ("miner_id", "state", "tags", "price", "price_source", "price_cap", "operator_drain", "disabled")
    told = {name: miner[name] for name in names}
    # trust fades with time, by little in the moments of a test
    return {**told, "trust": round(miner["trust"], 3), "latency": miner["live"]["avg_latency_ms"]}


def test_what_is_known_of_miners_outlives_the_hub(kept, tmp_path) -> None:
    profile = {
        "region": "eu-west", "gpu_name": "RTX 4090", "gpu_vram": 24, "tags": ["a", "b"], "proto": "grpc",
        "max_parallel": 2, "price_token_per_ksec": 1,
    }  # fmt: skip
    with running_hub(tmp_path, **kept) as hub, closing(AdminSession(hub)) as admin:
        coordinator, operator = Coordinator(hub), Operator(hub)
        miners = [Miner(hub, f"m{number}", **profile) for number in range(6)]
        for miner in miners:
            miner.register()
        with miners[0].socket() as socket:
            assert "1 miner disabled." in admin.act("disable", "m0")
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=10)
            assert closed.value.rcvd.code == 4403
        assert miners[0].post("lease/renew").status_code == 403
        assert miners[1].post("logout").status_code == 204
        page = admin.act("set_price_override", "m2", price="0.25", reason="a test")
        assert "1 miner given a price override." in page
        operator.command("m3", "set_price_cap", price=0.5)
        operator.command("m3", "update_tags", tags=["c"])
        operator.command("m4", "drain")
        assert coordinator.feedback("done", "m2", "completed", latency_ms=40) == 0.6  # 3/5
        assert coordinator.feedback("lost", "m5", "failed") == 0.333333  # 2/6
        assert miners[5].post("heartbeat", {"queue_len": 1, "avg_latency_ms": 70}).status_code == 200
        until(lambda: coordinator.components("eu", "latency")["m5"] == 1)
        before = coordinator.look("eu")
        assert [(each["miner_id"], each["price"]) for each in before["candidates"]] == [
            ("m2", 0.25),
            ("m3", 0.5),
            ("m5", 1),
        ]
        assert [each["explain"].split(" • ")[1] for each in before["candidates"]] == [
            "price=0.75 (override)", "price=0.50 (cap)", "price=0.00"
        ]  # fmt: skip
        assert before["rejected"] == {"offline": 1, "disabled": 1, "draining": 1}
        known = [known_of(operator.miner(miner.miner_id)) for miner in miners]
        assert hub.stop() == 0

    with running_hub(tmp_path, **kept) as hub:
        coordinator, operator = Coordinator(hub), Operator(hub)
        after = coordinator.look("eu")
        assert [shown(each) for each in after["candidates"]] == [shown(each) for each in before["candidates"]]
        assert after["rejected"] == before["rejected"]
        assert [known_of(operator.miner(miner.miner_id)) for miner in miners] == known
        for miner in miners:
            miner.hub = hub
        # the tokens that lived still live
        assert [miner.post("lease/renew").status_code for miner in miners] == [403, 401, 200, 200, 200, 200]
        # what was acknowledged outlives a kill as well
        assert coordinator.feedback("lost-later", "m3", "failed") == 0.333333
        assert miners[1].register() == 200
        operator.command("m5", "drain")
        assert hub.stop(signal.SIGKILL) == -signal.SIGKILL

    with running_hub(tmp_path, **kept) as hub:
        last = Coordinator(hub).look("eu")
        assert [each["miner_id"] for each in last["candidates"]] == ["m2", "m3", "m1"]
        assert last["rejected"] == {"disabled": 1, "draining": 2}
        assert known_of(Operator(hub).miner("m3"))["trust"] == 0.333
        miners[1].hub = hub
        with miners[1].socket() as socket:
            miners[1].beat(socket)
