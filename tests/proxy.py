"""A TCP proxy in front of a server under test, which can stop answering, be slow or go away, and come back."""

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STEP_S = 0.02


Target = tuple[str, int] | str  # host and port, or a Unix socket


class Proxy:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._hangs = threading.Event()
        self._gone = threading.Event()
        self._delay_s = 0.0
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def hang(self) -> None:
        """Connections are taken and kept, but nothing is passed on."""
        self._hangs.set()

    def cut(self) -> None:
        """Every connection, and each new one, is closed at once."""
        self._gone.set()

    def delay(self, seconds: float) -> None:
        """What the server says arrives so much later."""
        self._delay_s = seconds

    def heal(self) -> None:
        self._delay_s = 0.0
        self._hangs.clear()
        self._gone.clear()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(STEP_S)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                if self._gone.is_set():
                    client.close()
                    continue
                thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError), _connected(self._target) as server:
            on_the_way: deque[tuple[float, bytes]] = deque()  # when it arrives at the client
            while not (self._stop.is_set() or self._gone.is_set()):
                if self._hangs.wait(0):
                    self._stop.wait(STEP_S)
                    continue
                ahead = on_the_way[0][0] - time.monotonic() if on_the_way else STEP_S
                for ready in select.select([client, server], [], [], min(max(ahead, 0), STEP_S))[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                    else:
                        on_the_way.append((time.monotonic() + self._delay_s, data))
                while on_the_way and on_the_way[0][0] <= time.monotonic():
                    client.sendall(on_the_way.popleft()[1])


def _connected(target: Target) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target)
    made = socket.socket(socket.AF_UNIX)
    made.connect(target)
    return made


@contextmanager
def proxy(target: Target) -> Iterator[Proxy]:
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
