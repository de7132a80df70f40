"""A hub as in production, all of it on one machine and in the foreground: ``make cluster``.

Promises: nobody is told that it listens before every part is healthy. A part that ends by itself ends the cluster,
with its exit code; with `restart` it is started again instead, after a pause, as systemd does it in production. On
SIGTERM or Ctrl-C requests under way are answered, sockets are closed with 1012, what waits is written, and only then
the databases end.
"""

import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, time

import httpx
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from poolhub import chores, devservers, multiproc, nginx, parts
from poolhub.children import ROOT, Child

START_LIMIT_S = 60.0
STOP_LIMIT_S = 25.0  # above the servers' own, so that they give up first
STEP_S = 0.1
RESTART_S = 1.0  # deploy/systemd: RestartSec

Tell = Callable[[str], object]


class ClusterFailed(RuntimeError):
    def __init__(self, text: str, code: int = 1) -> None:
        self.code = code
        super().__init__(text)


def run(*, kept_in: Path | None, stop: threading.Event, tell: Tell, restart: bool = False) -> int:
    """Until told to stop, or a part ends that is not started again; the exit code. ClusterFailed where it cannot
    start."""
    ports, with_nginx = parts.ports_from(settings.POOLHUB_PORT), nginx.binary() is not None
    check_ports(ports, with_nginx=with_nginx)
    with _folder(kept_in) as folder, databases(kept_in, tell) as addresses:
        metrics = folder / "metrics"
        multiproc.wipe(metrics)
        env = {**os.environ, **addresses, "PYTHONUNBUFFERED": "1"}
        if not stop.is_set():
            migrate(env)
        if stop.is_set():
            return 0
        if with_nginx and not settings.TRUSTED_PROXIES:
            env["TRUSTED_PROXIES"] = ",".join(own_addresses())
        env[multiproc.VARIABLE] = str(metrics)
        cluster = Cluster(env=env, ports=ports, folder=folder, with_nginx=with_nginx, tell=tell, restart=restart)
        return cluster.run(stop)


def check_ports(ports: parts.Ports, *, with_nginx: bool) -> None:
    """ClusterFailed where one is taken: granian shares its port with whoever else asks to share."""
    if not 0 < ports.rest <= parts.HIGHEST:
        raise ClusterFailed(f"a cluster needs POOLHUB_PORT from 1 to {parts.HIGHEST}, not {ports.rest}")
    for port in (ports.rest, *ports.sockets, *([ports.nginx] if with_nginx else [])):
        host = _host()
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
            except OSError as error:
                raise ClusterFailed(f"port {port} of {host} cannot be had: {error.strerror}") from None


def own_addresses() -> list[str]:
    """From where nginx on this machine reaches the other parts."""
    found = ["127.0.0.1", "::1"]
    with suppress(ValueError):  # a name
        bound_to = ip_address(_host())
        found += [] if bound_to.is_unspecified or bound_to.is_loopback else [str(bound_to)]
    return found


@contextmanager
def databases(kept_in: Path | None, tell: Tell) -> Iterator[dict[str, str]]:
    """DB_DSN and REDIS_URL of the servers that are started for those which the settings do not name.

    SQLite counts as none: many processes cannot share it.
    """
    missing = {"postgres": "DB_DSN"} if settings.ON_SQLITE else {}
    missing |= {} if settings.REDIS_URL else {"valkey": "REDIS_URL"}
    if not missing:
        yield {}
        return
    tell(
        f"starting {' and '.join(missing)} for this cluster, {'kept in ' + str(kept_in) if kept_in else 'for its time'}"
    )
    try:
        with devservers.beside(*missing, kept_in=kept_in) as found:
            yield {missing[name]: where for name, where in found.items()}
    except devservers.ServersFailed as error:
        raise ClusterFailed(f"{error}; set DB_DSN and REDIS_URL to use others") from None


def migrate(env: Mapping[str, str]) -> None:
    command = parts.manage_command("migrate", "--verbosity", "0")
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, start_new_session=True)  # noqa: S603 - our own command
    if done.returncode:
        raise ClusterFailed("the database could not be migrated", done.returncode)


class Cluster:
    """The processes of a hub whose databases are there."""

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        ports: parts.Ports,
        folder: Path,
        with_nginx: bool,
        tell: Tell,
        restart: bool = False,
    ) -> None:
        """restart: what ends by itself, once all of it was healthy, is started again."""
        self._env, self._ports, self._folder, self._with_nginx, self._tell = env, ports, folder, with_nginx, tell
        self._restart = restart
        self._began_at = time()
        self._rest: list[Child] = []
        self._sockets: list[Child] = []
        self._others: list[Child] = []
        self._nginx: list[Child] = []

    def run(self, stop: threading.Event) -> int:
        host, ports = _host(), self._ports
        try:
            self._start(self._rest, "rest", parts.rest_command(host, ports.rest))
            for number, port in enumerate(ports.sockets, start=1):
                self._start(self._sockets, f"socket-{number}", parts.socket_command(host, port))
            self._start(self._others, "worker", parts.manage_command("worker"))
            self._await(stop, self._is_healthy)
            if self._with_nginx and not stop.is_set():
                self._start(self._nginx, "nginx", self._nginx_command(), gentle=signal.SIGQUIT)
                self._await(stop, lambda: _answers(ports.nginx))
            if not stop.is_set():
                self._tell(self._where())
            while not stop.is_set():
                if self._restart:
                    self._start_again(stop)
                else:
                    self._look(stop)
        except ClusterFailed as error:
            self._tell(f"the cluster ends: {error}")
            self._drain()
            return error.code
        self._tell("the cluster ends; what is under way is finished")
        return 0 if self._drain() else 1

    # ---- inside

    def _start(self, group: list[Child], name: str, command: list[str], *, gentle: int = signal.SIGTERM) -> None:
        group.append(Child(name, command, env=self._env, tell=self._tell, gentle=gentle))

    def _nginx_command(self) -> list[str]:
        site_file, main_file = self._folder / "nginx-site.conf", self._folder / "nginx.conf"
        host = _host()
        site = nginx.Site(
            rest=parts.reached(host, self._ports.rest),
            sockets=tuple(parts.reached(host, port) for port in self._ports.sockets),
            max_body_bytes=settings.MAX_BODY_BYTES,
            plain_listen=parts.bound(host, self._ports.nginx),
            coordinator_allowlist=settings.COORDINATOR_ALLOWLIST,
            admin_allowlist=settings.ADMIN_ALLOWLIST,
            access_log="off",
        )
        site_file.write_text(nginx.rendered(site))
        main_file.write_text(nginx.standalone(site_file, self._folder))
        return nginx.command(main_file)

    def _await(self, stop: threading.Event, is_up: Callable[[], bool]) -> None:
        until = monotonic() + START_LIMIT_S
        while not stop.is_set() and not is_up():
            if monotonic() > until:
                raise ClusterFailed(f"not every part was healthy within {START_LIMIT_S:.0f} s")
            self._look(stop)

    def _look(self, stop: threading.Event) -> None:
        """Wait a moment; ClusterFailed where a part has ended."""
        stop.wait(STEP_S)
        for child in (*self._rest, *self._sockets, *self._others, *self._nginx):
            if child.code is not None and not stop.is_set():
                raise ClusterFailed(f"{child.name} ended with code {child.code}", child.code or 1)

    def _start_again(self, stop: threading.Event) -> None:
        """Wait a moment; start what has ended, RESTART_S after it was seen."""
        stop.wait(STEP_S)
        for group in (self._rest, self._sockets, self._others, self._nginx):
            for at, child in enumerate(group):
                if child.code is None or stop.is_set():
                    continue
                self._tell(f"{child.name} ended with code {child.code}, and is started again")
                child.sweep()
                stop.wait(RESTART_S)
                if not stop.is_set():
                    group[at] = child.again()

    def _is_healthy(self) -> bool:
        return all(_answers(port) for port in (self._ports.rest, *self._ports.sockets)) and self._worker_is_seen()

    def _worker_is_seen(self) -> bool:
        try:
            with Redis.from_url(self._env["REDIS_URL"], **settings.REDIS_OPTIONS) as client:
                return float(client.get(chores.SEEN) or 0) >= self._began_at
        except (RedisError, OSError):
            return False

    def _where(self) -> str:
        sockets = ", ".join(f"ws://{parts.reached(_host(), port)}" for port in self._ports.sockets)
        text = f"Pool Hub listens on http://{parts.reached(_host(), self._ports.rest)}, its sockets on {sockets}; "
        if not self._with_nginx:
            return f"{text}nginx is not installed, so that nothing is in front of them"
        return f"{text}all of it behind nginx on http://{parts.reached(_host(), self._ports.nginx)}"

    def _drain(self) -> bool:
        """End every part in the order in which none misses another; False where one had to be killed."""
        for child in self._nginx:
            child.ask_to_end()  # it takes no new connections, and has ended once those that it has are over
        ended = [self._end(group) for group in (self._sockets, self._nginx, self._rest, self._others)]
        return all(ended)

    def _end(self, group: list[Child]) -> bool:
        for child in group:
            child.ask_to_end()
        ended = True
        for child in group:
            if not child.wait(STOP_LIMIT_S):
                self._tell(f"{child.name} did not end within {STOP_LIMIT_S:.0f} s and was killed")
                ended = False
        return ended


def _host() -> str:
    return str(settings.POOLHUB_HOST).strip("[]")


def _answers(port: int) -> bool:
    """Whether the hub behind this port is healthy."""
    named = settings.ALLOWED_HOSTS[0].lstrip("*.") if settings.ALLOWED_HOSTS else ""
    try:
        url = f"http://{parts.reached(_host(), port)}/v1/health"
        return httpx.get(url, headers={"Host": named} if named else {}, timeout=2).is_success
    except httpx.TransportError:
        return False


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    with ExitStack() as stack:
        if kept is None:
            made = tempfile.TemporaryDirectory(prefix="poolhub-", ignore_cleanup_errors=True)
            kept = Path(stack.enter_context(made))
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
