"""A whole hub as in production on this machine, `manage.py cluster`, and what can be seen of it from outside."""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from redis import Redis

from benchmarks.processes import free_ports, hub_environment, processor_s, running
from poolhub import devservers, nginx, parts

START_LIMIT_S = 120
STATM_PAGE, STATM_RESIDENT, STATM_SHARED = 4096, 1, 2
PARTS = {"granian": "rest", "uvicorn": "sockets", "worker": "worker", "nginx": "nginx"}  # a word of its command
TABLES = (
    "miners_miner", "miners_minerstatus", "matching_reservation", "matching_matchrecord", "matching_candidacy",
    "matching_standingpart", "feedback_feedback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hub:
    ports: parts.Ports
    env: Mapping[str, str]
    pid: int
    folder: Path

    @property
    def front(self) -> int:
        return self.ports.nginx if nginx.binary() else self.ports.rest

    @property
    def secret(self) -> str:
        return self.env["COORDINATOR_SHARED_SECRET"]

    # ---- its answers

    def get(self, path: str, *, port: int | None = None, **headers: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{port or self.front}{path}", headers=headers, timeout=30)

    def health(self) -> dict[str, Any]:
        """What /v1/health says, and how long it took."""
        begun = time.perf_counter()
        try:
            reply = self.get("/v1/health")
            told = reply.json()
        except (httpx.TransportError, json.JSONDecodeError) as error:
            return {"status": type(error).__name__, "ms": (time.perf_counter() - begun) * 1e3, "code": 0}
        return {
            "status": told.get("status"),
            "ms": round((time.perf_counter() - begun) * 1e3, 1),
            "code": reply.status_code,
            "online_miners": told.get("online_miners"),
            "lag_ms": told.get("registry", {}).get("lag_ms"),
        }

    def counters(self) -> dict[str, float]:
        """Every sample of the hub's own counters, by its name and labels."""
        lines = self.get("/v1/metrics", **self.admin).raise_for_status().text.splitlines()
        pairs = (line.rpartition(" ") for line in lines if line.startswith(("poolhub_", "django_http_responses")))
        return {name: float(value) for name, _, value in pairs}

    def reservations(self) -> int:
        return len(self.get("/v1/reservations", **self.coordinator).raise_for_status().json()["results"])

    @property
    def admin(self) -> dict[str, str]:
        return {"X-Admin-Secret": self.env["ADMIN_SHARED_SECRET"]}

    @property
    def coordinator(self) -> dict[str, str]:
        return {"X-Coordinator-Secret": self.secret}

    # ---- what it keeps

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.env["DB_DSN"], autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def kept(self) -> dict[str, Any]:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
        (found,) = self.rows(f"SELECT pg_database_size(current_database()), {counts}")
        with closing(Redis.from_url(self.env["REDIS_URL"])) as client:
            memory = client.info("memory")["used_memory"]
            keys = client.dbsize()
        return {
            "database_mb": round(found[0] / 1e6, 1),
            "rows": dict(zip(TABLES, found[1:], strict=True)),
            "redis_mb": round(memory / 1e6, 2),
            "redis_keys": keys,
        }

    # ---- its processes

    def processes(self) -> dict[str, list[int]]:
        """Ids by part: REST, sockets, worker, nginx, what holds them together, PostgreSQL, Valkey."""
        found: dict[str, list[int]] = {"cluster": [self.pid]}
        for child in children(self.pid):
            command = command_of(child)
            part = next((name for word, name in PARTS.items() if word in command), "other")
            found.setdefault(part, []).extend(family(child))
        with suppress(OSError, IndexError):
            postmaster = int((self.folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
            found["postgres"] = list(family(postmaster))
        with closing(Redis.from_url(self.env["REDIS_URL"])) as client:
            found["valkey"] = [client.info("server")["process_id"]]
        return found

    def memory(self) -> dict[str, dict[str, float]]:
        """By part: resident memory in MB without what is shared, and its processes."""
        return {part: {"mb": sum(map(own_mb, pids)), "processes": len(pids)} for part, pids in self.processes().items()}

    def processor_s(self) -> dict[str, float]:
        spent = {}
        for part, pids in self.processes().items():
            spent[part] = 0.0
            for pid in pids:
                with suppress(OSError):  # it has ended
                    spent[part] += processor_s(pid)
        return spent


@contextmanager
def running_hub(folder: Path, *, first_port: int | None = None, **changes: str) -> Iterator[Hub]:
    """Started and healthy; PostgreSQL writes to the disk before it answers, as in production."""
    with ExitStack() as stack:
        found = stack.enter_context(devservers.beside("postgres", "valkey", kept_in=folder))
        ports = parts.ports_from(first_port) if first_port else free_ports()
        env = hub_environment(
            found["postgres"],
            REDIS_URL=found["valkey"],
            POOLHUB_HOST="127.0.0.1",
            POOLHUB_PORT=str(ports.rest),
            ENROLLMENT="open",
            **changes,
        )
        log = folder / "cluster.log"
        command = [sys.executable, "manage.py", "cluster", "--data", str(folder / "cluster")]
        process = stack.enter_context(running(command, env=env, log=log))
        until = time.monotonic() + START_LIMIT_S
        while not re.search("^Pool Hub listens on ", log.read_text(), re.MULTILINE):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the cluster did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield Hub(ports, env, process.pid, folder)


def own_mb(pid: int) -> float:
    """Resident, without shared memory and mapped files: what a process that leaks has more and more of."""
    with suppress(OSError, IndexError):
        pages = (Path("/proc") / str(pid) / "statm").read_text().split()
        return (int(pages[STATM_RESIDENT]) - int(pages[STATM_SHARED])) * STATM_PAGE / 1e6
    return 0.0


def command_of(pid: int) -> str:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
    return ""


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in (Path("/proc") / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def family(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from family(child)
