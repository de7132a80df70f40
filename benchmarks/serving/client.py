"""A client that asks as fast as it is answered, over connections that stay open: a process of its own.

Reads an Order from its input, writes a Told to its output, both msgpack. It prepares nothing while it asks and reads
no more of an answer than its status, its length and whether it holds what it must.
"""

import selectors
import socket
import sys
import time
from contextlib import ExitStack
from itertools import cycle

import msgspec

RECEIVE = 1 << 18
LENGTH = b"content-length:"
PATIENCE_NS = 60_000_000_000
LAST_CHUNK = b"0\r\n\r\n"


class Order(msgspec.Struct):
    port: int
    connections: int
    seconds: float
    requests: list[bytes]  # whole, headers and all
    holds: bytes  # what each answer must contain


class Told(msgspec.Struct):
    seconds: float
    latencies_us: list[int]  # of each answer, in the order of the answers


class Wrong(RuntimeError):
    pass


class Connection:
    """One request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0
        self._got = b""

    def send(self, request: bytes) -> None:
        self._got = b""
        self.sent_at = time.perf_counter_ns()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """What has come, once it is all there."""
        more = self.socket.recv(RECEIVE)
        if not more:
            raise Wrong("the server closed the connection")
        self._got += more
        head, _, body = self._got.partition(b"\r\n\r\n")
        at = head.lower().find(LENGTH)
        if at < 0:  # in chunks: nothing but CommonMiddleware names the length
            complete = body.endswith(LAST_CHUNK)
        else:
            complete = len(body) >= int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
        return self._got if complete else None


def run(order: Order) -> Told:
    requests, latencies = cycle(order.requests), []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        connections = [Connection(order.port) for _ in range(order.connections)]
        for each in connections:
            stack.enter_context(each.socket)
            selector.register(each.socket, selectors.EVENT_READ, each)
        begun = time.perf_counter_ns()
        for each in connections:
            each.send(next(requests))
        until = begun + int(order.seconds * 1e9)
        while (now := time.perf_counter_ns()) < until or not latencies:  # one answer, however busy the machine
            if now > until + PATIENCE_NS:
                raise Wrong("not one answer")
            for key, _ in selector.select(1.0):
                answer = key.data.answer()
                if answer is not None:
                    latencies.append((time.perf_counter_ns() - key.data.sent_at) // 1000)
                    if not answer.startswith(b"HTTP/1.1 200") or order.holds not in answer:
                        raise Wrong(answer[:2000].decode(errors="replace"))
                    key.data.send(next(requests))
        return Told((time.perf_counter_ns() - begun) / 1e9, latencies)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.msgpack.encode(run(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order))))
