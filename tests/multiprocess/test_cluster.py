"""What one process of a cluster takes, the others know."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from poolhub.common import clock
from tests.hub import ROOT
from tests.multiprocess.cluster import child_with
from tests.waiting import until

pytestmark = pytest.mark.cluster
SEEN_S = 1.0  # contract, section 2


def beat(**fields):
    return json.dumps({"ts": clock.to_rfc3339(clock.now()), "queue_len": 0, **fields})


def closed_with(socket) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None, "no close frame came"
    return closed.value.rcvd.code


def test_every_process_is_healthy_and_says_so(cluster, workers) -> None:
    assert workers[0].pid != workers[1].pid
    for port in (cluster.ports.rest, *cluster.ports.sockets, cluster.ports.nginx):
        found = httpx.get(f"http://127.0.0.1:{port}/v1/health", timeout=10)
        assert found.status_code == 200
        assert found.json()["redis"] == found.json()["db"] == "ok"


def test_a_miner_that_registers_with_one_worker_is_matched_by_the_other(cluster, workers) -> None:
    for number, (here, there) in enumerate([workers, workers[::-1]]):
        name = f"across-{number}"
        body = {"miner_id": name, "api_key": "key-0123456789abcdef", "addr": "h:1", "region": name}
        assert here.ask("POST", "/v1/miners/register", body)[0] == 201
        assert here.candidates(name) == [name]
        until(lambda: there.candidates(name) == [name], SEEN_S, "matched by the other worker")  # noqa: B023


def test_a_logout_with_one_worker_is_known_to_the_other(cluster, workers) -> None:
    here, there = workers
    token = cluster.register("leaver", region="leaver")
    until(lambda: there.candidates("leaver") == ["leaver"], SEEN_S, "matched by the other worker")
    bearer = {"Authorization": f"Bearer {token}"}
    assert here.ask("POST", "/v1/miners/logout", **bearer)[0] == 204
    until(lambda: there.candidates("leaver") == [], SEEN_S, "matched no more")
    assert there.ask("POST", "/v1/miners/update", {}, **bearer)[0] == 401


def test_a_session_token_is_good_at_once_on_every_process(cluster) -> None:
    for number in range(5):
        token = cluster.register(f"everywhere-{number}")
        for base in (*cluster.socket_bases, cluster.front.replace("http", "ws")):
            with cluster.socket(base, token):
                pass


def test_a_heartbeat_on_a_socket_is_seen_by_the_rest_workers(cluster, workers) -> None:
    token = cluster.register("beating", max_parallel=9)
    for load, base in enumerate(cluster.socket_bases, start=3):
        with cluster.socket(base, token) as socket:
            socket.send(beat(queue_len=load, ack=True))
            assert json.loads(socket.recv(timeout=10))["type"] == "ack"
            for worker in workers:
                asked = ("GET", "/v1/miners/beating")
                until(
                    lambda: json.loads(worker.ask(*asked, **cluster.admin)[1])["live"]["queue_len"] == load,  # noqa: B023
                    SEEN_S,
                    "the load is seen",
                )


def test_a_newer_socket_on_another_process_replaces_the_older_one(cluster) -> None:
    token = cluster.register("moving")
    first, second = cluster.socket_bases
    with cluster.socket(first, token) as older, cluster.socket(second, token) as newer:
        assert closed_with(older) == 4409
        newer.send(beat(ack=True))
        assert json.loads(newer.recv(timeout=10))["type"] == "ack"


def test_a_command_reaches_the_miner_wherever_its_socket_is_and_once(cluster, workers) -> None:
    token = cluster.register("commanded")
    before = workers[0].metric("poolhub_commands_total", event="acked")
    for number, (base, worker) in enumerate(zip(cluster.socket_bases, workers, strict=True)):
        waiting = command(cluster, worker, "drain")
        with cluster.socket(base, token) as socket:
            assert json.loads(socket.recv(timeout=10))["id"] == waiting
            socket.send(json.dumps({"type": "command.ack", "id": waiting, "ok": True}))
            for name in ("resume", "reregister"):
                sent = command(cluster, workers[number - 1], name)
                told = json.loads(socket.recv(timeout=10))
                assert (told["type"], told["id"], told["name"]) == ("command", sent, name)
                socket.send(json.dumps({"type": "command.ack", "id": sent, "ok": True}))
            socket.send(beat(ack=True))
            assert json.loads(socket.recv(timeout=10))["type"] == "ack"
        # what is answered is written soon after; until then it would come again over the next socket
        wanted = before + 3 * (number + 1)
        until(lambda: workers[0].metric("poolhub_commands_total", event="acked") >= wanted, 5, "it is written")  # noqa: B023
    with cluster.socket(cluster.socket_bases[0], token) as socket:
        last = command(cluster, workers[0], "resume")
        assert json.loads(socket.recv(timeout=10))["id"] == last  # the answered ones do not come again


def command(cluster, worker, name: str) -> str:
    status, body = worker.ask("POST", "/v1/miners/commanded/commands", {"name": name}, **cluster.admin)
    assert status == 201
    return json.loads(body)["id"]


def test_a_subscription_at_any_socket_process_hears_of_what_the_rest_workers_take(cluster, workers) -> None:
    cluster.register("streamed-dear", region="streamed", price_token_per_ksec=0.9)
    for number, (base, worker) in enumerate(zip(cluster.socket_bases, workers, strict=True)):
        with connect(f"{base}/v1/match/stream", additional_headers=cluster.coordinator) as stream:
            body = {"job_id": "s", "hints": {"region": "streamed", "max_price": 1}, "top_k": 9}
            stream.send(json.dumps({"type": "subscribe", "id": "s", **body}))
            assert len(json.loads(stream.recv(timeout=10))["candidates"]) == 1 + number
            name = f"streamed-{number}"
            key = {"miner_id": name, "api_key": "key-0123456789abcdef", "addr": "h:1", "region": "streamed"}
            assert worker.ask("POST", "/v1/miners/register", key)[0] == 201
            told = json.loads(stream.recv(timeout=10))
            assert (told["type"], len(told["candidates"])) == ("match.update", 2 + number)
            stream.send(json.dumps({"type": "match", "id": "m", **body, "dry_run": True}))
            assert json.loads(stream.recv(timeout=10))["type"] == "match.result"


def test_a_socket_ends_with_its_session_wherever_that_was_ended(cluster) -> None:
    for number, base in enumerate(cluster.socket_bases):
        name = f"again-{number}"
        with cluster.socket(base, cluster.register(name)) as socket:
            cluster.register(name)
            assert closed_with(socket) == 4401


def test_an_unknown_socket_path_is_4404_and_leaves_nothing_behind(cluster) -> None:
    for base in cluster.socket_bases:
        with connect(f"{base}/v1/nothing") as socket:
            assert closed_with(socket) == 4404


def test_counts_add_up_over_the_processes_whoever_is_scraped(cluster, workers) -> None:
    name, labels = "poolhub_match_requests_total", {"outcome": "empty"}
    before = [worker.metric(name, **labels) for worker in workers]
    beats = workers[0].metric("poolhub_heartbeats_total", transport="ws")
    for worker, times in zip(workers, (3, 4), strict=True):
        for _ in range(times):
            assert worker.candidates("no-such-region") == []
    assert before[0] == before[1]
    assert [worker.metric(name, **labels) for worker in workers] == [before[0] + 7, before[1] + 7]
    token = cluster.register("counted")
    for base in cluster.socket_bases:
        with cluster.socket(base, token) as socket:
            socket.send(beat(ack=True))
            socket.recv(timeout=10)
    assert [worker.metric("poolhub_heartbeats_total", transport="ws") for worker in workers] == [beats + 2] * 2


def test_gauges_show_what_is_and_never_what_another_worker_saw_last(cluster, workers) -> None:
    here, there = workers
    token = cluster.register("gauged", region="gauged")
    until(lambda: here.metric("poolhub_miners_online", region="gauged") == 1, SEEN_S, "counted")
    cluster.register("gauged", region="elsewhere")
    for worker in (there, here):
        until(lambda: worker.metric("poolhub_miners_online", region="gauged") == 0, SEEN_S, "gone")  # noqa: B023
        until(lambda: worker.metric("poolhub_miners_online", region="elsewhere") == 1, SEEN_S, "there")  # noqa: B023
    assert token
    assert ("poolhub_registry_lag_ms", ()) in here.metrics()


def test_the_worker_is_seen_and_does_its_chores(cluster, workers) -> None:
    assert workers[0].metrics()["poolhub_worker_seen_seconds", ()] < 60
    for chore in ("rows-recover", "match-records-purge", "metrics-fold"):
        assert workers[0].metric("poolhub_chore_runs_total", chore=chore, outcome="done") >= 1
        assert workers[0].metric("poolhub_chore_runs_total", chore=chore, outcome="failed") == 0


def test_a_process_that_starts_takes_the_snapshot_that_the_worker_makes(cluster, workers) -> None:
    cluster.register("kept", region="kept")
    until(lambda: ("poolhub_snapshot_age_seconds", ()) in workers[0].metrics(), 10, "a snapshot is there")
    assert workers[0].metrics()["poolhub_snapshot_age_seconds", ()] < 30
    told = Path(f"/proc/{child_with(cluster.process.pid, 'worker')}/environ").read_bytes().decode()
    env = dict(each.split("=", 1) for each in told.split("\0") if each)
    program = (
        "from miners.registry import runtime; "
        "registry = runtime.get_registry(); "
        "print(runtime.opened().source, 'kept' in registry); "
        "runtime.stop()"
    )
    command = [sys.executable, str(ROOT / "manage.py"), "shell", "--verbosity", "0", "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["snapshot", "True"]
