"""The embedded server: its back-pressure, what it refuses, and how it starts. Its stop is test_stop's."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.hub import ROOT, LiveHub, free_port, fresh_database, hub_environment
from tests.poolhub.clients import HEARTBEAT, beat, close_code, open_socket, register
from tests.waiting import until

pytestmark = pytest.mark.once


@pytest.fixture
def slow_server() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.poolhub.slow_server"], cwd=ROOT, env=env, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.terminate()


def resident(process: subprocess.Popen[bytes]) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024


@pytest.mark.pure
def test_a_client_that_floods_a_socket_nobody_reads_is_slowed_down(slow_server) -> None:
    process, port = slow_server
    size, number = 60_000, 2_000  # 120 MB
    before, sent = resident(process), 0
    with connect(f"ws://127.0.0.1:{port}/", compression=None, ping_interval=None) as made:

        def flood() -> None:
            nonlocal sent
            for _ in range(number):
                made.send("x" * size)
                sent += 1

        flooding = threading.Thread(target=flood)
        flooding.start()
        seen = [0, -1]

        def stands_still() -> bool:
            seen.append(sent)
            return len(seen) > 30 and seen[-30] == seen[-1]

        until(stands_still)
        assert 64 <= sent < number / 4
        assert resident(process) - before < 40_000_000
        assert httpx.get(f"http://127.0.0.1:{port}/go").status_code == 200
        flooding.join(30)
        made.send("count")
        assert made.recv(timeout=30) == str(number)  # all of it arrives in the end
    assert resident(process) - before < 60_000_000


@pytest.mark.pure
def test_a_consumer_waits_for_a_client_that_does_not_read(slow_server) -> None:
    process, port = slow_server
    number = 2_000  # 100 MB
    before = resident(process)
    with connect(f"ws://127.0.0.1:{port}/", compression=None, ping_interval=None, max_queue=4) as made:
        made.send(f"flood {number}")
        seen = [-1]

        def stands_still() -> bool:
            seen.append(int(httpx.get(f"http://127.0.0.1:{port}/sent").text))
            return len(seen) > 30 and seen[-30] == seen[-1] > 0

        until(stands_still)
        assert seen[-1] < number / 2
        assert resident(process) - before < 20_000_000
        for _ in range(number):
            made.recv(timeout=30)
        made.send("count")
        assert made.recv(timeout=30) == "1"
    assert resident(process) - before < 20_000_000


class Transport:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.told.append("pause")

    def resumeProducing(self) -> None:  # noqa: N802
        self.told.append("resume")


@pytest.mark.pure
def test_reading_pauses_at_64_waiting_messages_and_goes_on_at_16() -> None:
    from poolhub.server import SlowingQueue

    transport = Transport()
    queue = SlowingQueue(transport)
    for number in range(63):
        queue.put_nowait({"number": number})
    assert transport.told == []
    for number in range(63, 100):  # what was read in one piece comes in spite of the pause
        queue.put_nowait({"number": number})
    assert transport.told == ["pause"]
    taken = [queue.get_nowait()["number"] for _ in range(83)]
    assert transport.told == ["pause"]
    taken.append(queue.get_nowait()["number"])
    assert transport.told == ["pause", "resume"]
    assert taken == list(range(84))
    for number in range(48):
        queue.put_nowait({"number": number})
    assert transport.told == ["pause", "resume", "pause"]


def test_a_client_cannot_set_the_root_path(live_hub: LiveHub, http) -> None:
    header = {"Daphne-Root-Path": "/elsewhere"}
    assert http.get("/admin/", headers=header).headers["Location"] == "/admin/login/?next=/admin/"
    assert http.get("/v1/health", headers={"Daphne-Root-Path": "/v1"}).status_code == 200
    with open_socket(live_hub, register(live_hub, "rooted"), **{"Daphne-Root-Path": "/v1/miners"}) as made:
        made.send(beat(ack=True))
        assert json.loads(made.recv(timeout=10))["type"] == "ack"


@pytest.mark.parametrize(
    "path", ["/", "/v1/match", "/v1/miners/heartbeat/x", "/v1/miners/heartbeatx", "/x/v1/miners/heartbeat"]
)
def test_an_unknown_socket_is_4404(live_hub: LiveHub, path) -> None:
    with connect(f"{live_hub.ws_base}{path}") as made:
        assert close_code(made) == 4404


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "file://"])
def test_a_miner_needs_no_origin_and_any_is_fine(live_hub: LiveHub, origin) -> None:
    token = register(live_hub, "originless")
    with connect(f"{live_hub.ws_base}{HEARTBEAT}/?session_token={token}", origin=origin) as made:
        assert json.loads(made.recv(timeout=10))["type"] == "welcome"


@pytest.mark.parametrize("size", [17 * 1024, 70_000, 1_000_000])
def test_a_message_that_is_too_large_ends_the_socket_with_4413(live_hub: LiveHub, size) -> None:
    with open_socket(live_hub, register(live_hub, "large")) as made:
        made.send("x" * size)
        assert close_code(made) == 4413


def test_a_frame_that_breaks_the_protocol_ends_the_socket_with_a_close_frame(live_hub: LiveHub) -> None:
    with open_socket(live_hub, register(live_hub, "broken")) as made:
        made.socket.sendall(b"\x81\x01x")  # not masked
        assert close_code(made) == 1002


def run_serve(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", "serve"], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_port_in_use_is_one_clear_line(live_hub: LiveHub) -> None:
    port = int(live_hub.env["POOLHUB_PORT"])
    with fresh_database(migrated=True) as dsn:
        ended = run_serve(hub_environment(dsn, port, LOG_LEVEL="WARNING"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(
        rf"CommandError: the hub cannot listen: .*127\.0\.0\.1:{port}.*Address already in use\.\n", ended.stderr
    )


def test_a_database_without_tables_is_one_clear_line() -> None:
    with fresh_database() as dsn:
        ended = run_serve(hub_environment(dsn, free_port()))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "CommandError: the database is not migrated: run manage.py migrate\n"


@pytest.mark.pure
def test_a_database_that_is_away_is_one_clear_line() -> None:
    dsn = f"postgresql://u:hidden@127.0.0.1:{free_port()}/hub"
    ended = run_serve(hub_environment(dsn, free_port(), REDIS_URL=""))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"CommandError: the database does not answer: .*\n", ended.stderr)
    assert "hidden" not in ended.stderr


def test_port_0_takes_a_free_one_and_says_which_and_ctrl_c_is_a_clean_stop() -> None:
    with fresh_database(migrated=True) as dsn:
        env = hub_environment(dsn, 0, POOLHUB_HOST="localhost")
        serve = [sys.executable, ROOT / "manage.py", "serve"]
        with subprocess.Popen(serve, env=env, stdout=subprocess.PIPE, text=True) as process:
            greeting = process.stdout.readline()
            named = re.fullmatch(
                r"Pool Hub listens on (http://localhost:[1-9]\d*) \(admin at /admin/, API at /v1/docs\)\n", greeting
            )
            assert named, greeting
            assert httpx.get(f"{named[1]}/v1/health").status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0


@pytest.mark.pure
@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("127.0.0.1", "tcp:port=8203:interface=127.0.0.1"), ("::1", r"tcp:port=8203:interface=\:\:1"), ("localhost", "tcp:port=8203:interface=localhost"),
    ],
)  # fmt: skip
def test_an_address_is_told_in_twisted_s_words(host, want) -> None:
    from poolhub.server import endpoint_of

    assert endpoint_of(host, 8203) == want
