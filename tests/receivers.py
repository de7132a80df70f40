"""Real HTTP servers for tests of what the hub calls: they keep what came, and answer as the test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        got = Got(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        with site.lock:
            site.got.append(got)
        site.answer(self, got)

    do_GET = do_POST = handle_any  # noqa: N815 - as http.server calls them

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Header names with _ for -."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        self.close_connection = True
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


Answer = Callable[[Handler, Got], None]


def ok(handler: Handler, got: Got) -> None:
    handler.say(204)


def status(code: int, **headers: str) -> Answer:
    return lambda handler, got: handler.say(code, **headers)


def raw(data: bytes) -> Answer:
    return lambda handler, got: handler.raw(data)


@dataclass
class Site:
    base: str = ""
    answer: Answer = ok
    got: list[Got] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)  # set at the end, for answers that wait

    def url(self, path: str = "/") -> str:
        return f"{self.base}{path}"

    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.got]


@contextmanager
def serving(answer: Answer = ok) -> Iterator[Site]:
    site = Site(answer=answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.site = site  # type: ignore[attr-defined]
    site.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
