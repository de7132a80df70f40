"""The processes that a hub consists of: how each is started, and where it listens. deploy/systemd starts the same."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

REST_WORKERS, SOCKET_PROCESSES = 2, 2
REST_THREADS = 256  # of each worker; see `poolhub.gate`
MATCHES_AT_ONCE = 180  # that nginx lets through for each worker: more than wait and work, so that they count refusals
LOG_CONFIG = "poolhub/servers.json"  # the servers' own words go to the hub's log too
NGINX_SHIFT = 10  # in a cluster nginx is so far above the REST port
HIGHEST = 65535 - NGINX_SHIFT


@dataclass(frozen=True, slots=True)
class Ports:
    rest: int
    sockets: tuple[int, ...]
    nginx: int


def ports_from(first: int, socket_processes: int = SOCKET_PROCESSES) -> Ports:
    """The REST port and, right above it, one for each socket process."""
    return Ports(first, tuple(range(first + 1, first + 1 + socket_processes)), first + NGINX_SHIFT)


def rest_command(host: str, port: int, *, workers: int = REST_WORKERS) -> list[str]:
    """granian, which starts a worker that dies again. Its back-pressure counts connections, idle ones too; while a body
    comes in, it holds a thread.

    What finds no thread waits where nobody can refuse it, so there are more than may work at once: `poolhub.gate`.
    """
    return [
        *module("granian"), "--interface", "wsgi", "--factory", "--host", host, "--port", str(port),
        "--workers", str(workers), "--blocking-threads", str(REST_THREADS), "--backpressure", "512", "--http", "1",
        "--no-ws", "--workers-kill-timeout", "15", "--no-access-log", "--log-config", LOG_CONFIG,
        "--respawn-failed-workers", "poolhub.wsgi:worker",
    ]  # fmt: skip


def socket_command(host: str, port: int) -> list[str]:
    """uvicorn. At level info it would log each socket's address, in which older miners send their token."""
    return [
        *module("uvicorn"), "--host", host, "--port", str(port), "--workers", "1", "--loop", "uvloop",
        "--http", "httptools", "--ws", "websockets-sansio", "--ws-max-size", "65536",
        "--ws-per-message-deflate", "false", "--ws-ping-interval", "20", "--ws-ping-timeout", "20",
        "--lifespan", "on", "--timeout-graceful-shutdown", "10", "--no-proxy-headers", "--no-server-header",
        "--no-access-log", "--log-level", "warning", "--log-config", LOG_CONFIG, "poolhub.asgi:application",
    ]  # fmt: skip


def manage_command(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def bound(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reached(host: str, port: int) -> str:
    """Where a server that is bound to this host answers on this machine."""
    return bound({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - it is not bound here


def module(name: str) -> Sequence[str]:
    """Run as a module: a script names the interpreter that it was installed with, wherever that is by now."""
    return sys.executable, "-m", name
