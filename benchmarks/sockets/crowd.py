"""Many miners' sockets in one process: python -m benchmarks.sockets.crowd PORT, asked by lines of JSON.

Plain sockets and frames made beforehand: a client library would cost more than the server that is measured. Each socket
sends its next heartbeat when the last one is acknowledged, with the text that belongs to it; any other answer ends the
run. It looks for answers without ever sleeping: waking a process costs whoever sends to it, so the slower server would
pay for a wake-up with every acknowledgement, and the quicker one, whose client is never idle, for none.
"""

import base64
import os
import select
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from benchmarks.processes import serve_lines
from benchmarks.sockets import frames

WELCOME = b'"type":"welcome"'
ANSWER_LIMIT_S = 30.0


class Crowd:
    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: dict[str, list[socket.socket]] = {}
        self.steps = 0

    def connect(self, path: str, tokens: list[str]) -> int:
        """One socket a token, each of them accepted, and welcomed where it is a miner's."""
        opened = [self._open(path, token) for token in tokens]
        self.sockets.setdefault(path, []).extend(opened)
        return len(opened)

    def close(self, path: str) -> int:
        closed = self.sockets.pop(path)
        for each in closed:
            each.close()
        return len(closed)

    def drive(self, path: str, each: int) -> dict[str, Any]:
        """So many heartbeats on every socket."""
        now = time.time()
        steps = [frames.heartbeat(self.steps + i, now + i / 1e6) for i in range(each)]
        self.steps += each
        sent = [frame for frame, _, _ in steps]
        expected = [frames.server_frame(frames.EMPTY_ACK)] * each if path == frames.EMPTY else [a for _, a, _ in steps]
        for opened in self.sockets.values():
            _answer_pings(opened)
        begun = time.perf_counter()
        acked = _drive(self.sockets[path], sent, expected)
        return {
            "seconds": time.perf_counter() - begun,
            "acked": acked,
            "queue_len": steps[-1][2],
        }

    def _open(self, path: str, token: str) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_LIMIT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        opened.sendall(
            (
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
            ).encode()
        )
        head = b""
        while b"\r\n\r\n" not in head or (path == frames.HEARTBEATS and WELCOME not in head):
            data = opened.recv(4096)
            assert data, f"the server closed: {head!r}"
            head += data
        assert head.startswith(b"HTTP/1.1 101"), head
        if path == frames.HEARTBEATS:
            assert head.endswith(b"}"), head
        opened.setblocking(False)
        return opened


def _answer_pings(sockets: list[socket.socket]) -> None:
    """Of sockets on which nothing else is due."""
    for each in sockets:
        with suppress(BlockingIOError):
            left = _without_pings(each, each.recv(4096))
            assert not left, left


def _without_pings(each: socket.socket, data: bytes) -> bytes:
    """What is left once they have been answered; a frame that is not all there yet stays."""
    kept = b""
    while len(data) >= 2 and len(data) >= (end := 2 + data[1]):
        if data[0] == frames.PING:
            each.send(frames.pong(data[2:end]))
        else:
            kept += data[:end]
        data = data[end:]
    return kept + data


def _drive(sockets: list[socket.socket], sent: list[bytes], expected: list[bytes]) -> int:
    """How many were acknowledged: all of them, else AssertionError."""
    poll = select.epoll()
    by_fd = {each.fileno(): each for each in sockets}
    done = dict.fromkeys(by_fd, 0)
    partial: dict[int, bytes] = {}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    first, total, last = sent[0], len(sent) * len(sockets), len(sent)
    for each in sockets:
        each.send(first)
    acked, heard_at = 0, time.monotonic()
    try:
        while acked < total:
            ready = poll.poll(0)
            if ready:
                heard_at = time.monotonic()
            else:
                assert time.monotonic() - heard_at < ANSWER_LIMIT_S, f"no answer: {acked} of {total}"
            for fd, _ in ready:
                each, step = by_fd[fd], done[fd]
                data = each.recv(4096)
                wanted = expected[step] if step < last else b""
                if data != wanted:
                    assert data, "the server closed a socket"
                    data = _without_pings(each, partial.pop(fd, b"") + data)
                    if not data or data != wanted:
                        assert wanted.startswith(data), (data, wanted)
                        partial[fd] = data
                        continue
                step += 1
                done[fd] = step
                acked += 1
                if step < last:
                    each.send(sent[step])
    finally:
        poll.close()
    assert set(done.values()) == {last}
    return acked


if __name__ == "__main__":
    crowd = Crowd(int(sys.argv[1]))
    serve_lines({"connect": crowd.connect, "close": crowd.close, "drive": crowd.drive})
