"""A real hub, ``manage.py serve`` in a process of its own, with a database of its own on the storage under test."""

import atexit
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 60

_redis_numbers = count(1)


@dataclass(frozen=True)
class LiveHub:
    base: str
    coordinator_secret: str
    admin_secret: str
    process: subprocess.Popen[bytes]
    log: Path
    env: dict[str, str]

    @property
    def ws_base(self) -> str:
        return self.base.replace("http", "ws", 1)

    @property
    def coordinator(self) -> dict[str, str]:
        return {"X-Coordinator-Secret": self.coordinator_secret}

    @property
    def admin(self) -> dict[str, str]:
        return {"X-Admin-Secret": self.admin_secret}

    def stop(self, number: int = signal.SIGTERM, *, limit_s: float = 20) -> int:
        """The exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit_s)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def fresh_database(*, migrated: bool = False) -> Iterator[str]:
    """A DSN of an empty database, on PostgreSQL where ``TEST_DB_DSN`` names one, else an SQLite file."""
    server = os.environ.get("TEST_DB_DSN")
    if not server:
        with tempfile.TemporaryDirectory(prefix="hub-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "hub.sqlite3"
            if migrated:
                shutil.copy(path_of(migrated_database()), file)
            yield f"sqlite:///{file}"
        return
    name, parts = f"hub_{secrets.token_hex(6)}", conninfo_to_dict(server)
    source = f'TEMPLATE "{conninfo_to_dict(migrated_database())["dbname"]}"' if migrated else ""
    with psycopg.connect(make_conninfo(**parts), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" {source}')
        try:
            yield dsn_of(parts, name)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@cache
def migrated_database() -> str:
    """The database that others are copied from, made once a run."""
    made = ExitStack()
    atexit.register(made.close)
    dsn = made.enter_context(fresh_database())
    migrate(hub_environment(dsn, 0))
    return dsn


def migrate(env: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, ROOT / "manage.py", "migrate", "--verbosity", "0"], env=env, check=True, timeout=120
    )


def is_migrated(dsn: str) -> bool:
    try:
        return bool(sql(dsn, "SELECT 1 FROM django_migrations LIMIT 1"))
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return False


def dsn_of(parts: dict[str, object], name: str) -> str:
    query = "&".join(f"{key}={parts[key]}" for key in ("host", "port", "user", "password") if parts.get(key))
    return f"postgresql:///{name}?{query}"


def fresh_redis() -> str:
    """Another numbered database of the server under test, for each hub: two hubs in one would share a pool."""
    server = os.environ.get("TEST_REDIS_URL", "")
    return f"{server.rstrip('/')}/{next(_redis_numbers)}" if server else ""


def hub_environment(dsn: str, port: int, **changes: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "poolhub.settings",
        "PYTHONWARNINGS": "default",
        "POOLHUB_ENV_FILE": "",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "API_KEY_PEPPER": secrets.token_urlsafe(32),
        "COORDINATOR_SHARED_SECRET": secrets.token_urlsafe(18),
        "ADMIN_SHARED_SECRET": secrets.token_urlsafe(18),
        "ENROLLMENT": "open",
        "RATELIMIT_MATCH": "",
        "RATELIMIT_REGISTER": "",
        "POOLHUB_HOST": "127.0.0.1",
        "POOLHUB_PORT": str(port),
        "DB_DSN": dsn,
        "REDIS_URL": fresh_redis(),
        **changes,
    }


@contextmanager
def running_hub(folder: Path, **changes: str) -> Iterator[LiveHub]:
    """Serve on a free port, wait for /v1/health; SIGTERM at the end. ``changes`` are settings."""
    with fresh_database(migrated="DB_DSN" not in changes) as dsn:
        port = int(changes.get("POOLHUB_PORT") or free_port())
        env = hub_environment(dsn, port, **changes)
        if not is_migrated(env["DB_DSN"]):
            migrate(env)
        manage = [sys.executable, str(ROOT / "manage.py")]
        log = folder / f"hub-{port}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen([*manage, "serve"], env=env, stdout=sink, stderr=subprocess.STDOUT)
            hub = LiveHub(
                base=f"http://127.0.0.1:{port}",
                coordinator_secret=env["COORDINATOR_SHARED_SECRET"],
                admin_secret=env["ADMIN_SHARED_SECRET"],
                process=process,
                log=log,
                env=env,
            )
            try:
                wait_until_healthy(hub)
                yield hub
            finally:
                try:
                    hub.stop()
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise


def wait_until_healthy(hub: LiveHub) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if hub.process.poll() is not None:
            break
        try:
            if httpx.get(f"{hub.base}/v1/health", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the hub did not start:\n{hub.log.read_text()}")


def sql(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, run beside the hub."""
    if dsn.startswith("sqlite"):
        with closing(sqlite3.connect(path_of(dsn), timeout=10)) as beside:
            return beside.execute(statement).fetchall()
    with psycopg.connect(dsn, autocommit=True) as beside:
        return beside.execute(statement).fetchall()


@contextmanager
def miners_locked(dsn: str) -> Iterator[None]:
    """Whoever would write a miner waits until the end of the block: on SQLite 5 s at most."""
    if dsn.startswith("sqlite"):
        with closing(sqlite3.connect(path_of(dsn), isolation_level=None)) as beside:
            beside.execute("BEGIN IMMEDIATE")
            yield
            beside.execute("ROLLBACK")
        return
    with psycopg.connect(dsn) as beside:
        beside.execute("LOCK TABLE miners_miner IN EXCLUSIVE MODE")
        yield
        beside.rollback()


def path_of(dsn: str) -> str:
    return dsn.removeprefix("sqlite:///")
