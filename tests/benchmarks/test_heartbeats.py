"""The benchmark of heartbeats over WebSocket, with few miners and short turns."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from benchmarks import figures, heartbeats
from benchmarks.sockets import crowd, frames
from miners import consumers
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure
MINERS = 20


@pytest.mark.bench
@pytest.mark.parametrize("server", heartbeats.SERVERS)
def test_each_server_acknowledges_and_applies_all_that_a_crowd_sends(server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "SETTLE_S", 0.0)
    monkeypatch.setattr(heartbeats, "MESSAGES_A_TURN", 5 * MINERS)
    result = heartbeats.run(options(heartbeats, "--quick", "--miners", str(MINERS), "--servers", server))
    (found,) = result["runs"]
    assert (found["server"], found["miners"], found["messages_a_turn"]) == (server, MINERS, 5 * MINERS)
    assert found["hub"]["messages_a_s"] > 0
    assert found["empty"]["messages_a_s"] > 0
    assert f"| {server} " in heartbeats.tables(result)
    assert [figure.read(result) for figure in heartbeats.FIGURES] == [None] * len(heartbeats.FIGURES)  # other sizes


def test_the_pace_is_what_the_hub_allows_a_socket() -> None:
    assert (heartbeats.MESSAGES_PER_S, heartbeats.BURST) == (consumers.MESSAGES_PER_S, consumers.BURST)


def test_too_few_open_files_are_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "open_files", lambda: 1024)
    with pytest.raises(SystemExit, match=r"`ulimit -n` of 10,200 or more; it is 1,024"):
        heartbeats.run(options(heartbeats))


def answering(answers: Callable[[int], bytes], rounds: int) -> socket.socket:
    """A socket whose other end answers each message."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with theirs, suppress(OSError):  # a crowd that ends the run leaves
            for step in range(rounds):
                theirs.recv(4096)
                theirs.sendall(answers(step))

    threading.Thread(target=answer, daemon=True).start()
    ours.setblocking(False)
    return ours


def steps(count: int) -> list[tuple[bytes, bytes, int]]:
    return [frames.heartbeat(step, 1_700_000_000.0 + step) for step in range(count)]


def test_a_crowd_counts_each_acknowledgement_of_what_it_sent() -> None:
    sent = steps(3)
    with answering(lambda step: sent[step][1], 3) as opened:
        assert crowd._drive([opened], [frame for frame, _, _ in sent], [ack for _, ack, _ in sent]) == 3


def test_a_crowd_that_is_answered_otherwise_ends_the_run() -> None:
    sent = steps(3)
    with answering(lambda _: sent[0][1], 3) as opened, pytest.raises(AssertionError):
        crowd._drive([opened], [frame for frame, _, _ in sent], [ack for _, ack, _ in sent])


def test_pings_around_an_acknowledgement_are_answered_and_left_out() -> None:
    ack, ping = steps(1)[0][1], b"\x89\x04ping"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert crowd._without_pings(ours, ping + ack + ping) == ack
        assert theirs.recv(4096) == frames.pong(b"ping") * 2
        assert crowd._without_pings(ours, ack[:7]) == ack[:7]  # the rest is still to come


def test_figures_are_read_off_the_run_they_name() -> None:
    runs = [
        {"server": server, "miners": miners, "messages_ratio": 0.5, "processor_ratio": 0.9,
         "memory": {"bytes_a_miner": 20_000}}
        for server, miners in heartbeats.CASES
    ]  # fmt: skip
    table = figures.table([heartbeats], {heartbeats.NAME: {"runs": runs}})
    assert table.count("**no**") == len(heartbeats.CASES)
    assert table.count(" yes ") == 2 * len(heartbeats.CASES)
