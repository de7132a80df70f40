"""One process on an SQLite database without Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolhub.onlyone import AlreadyRunning, lock_path, only_process
from tests.hub import ROOT, LiveHub, free_port, running_hub

pytestmark = pytest.mark.pure  # on SQLite always, whatever the storage under test

HOLD = """
import django; django.setup()
from poolhub.onlyone import only_process
with only_process():
    print("held", flush=True)
    input()
"""


@pytest.fixture
def database(settings, monkeypatch, tmp_path: Path) -> Path:
    settings.REDIS_URL, settings.ON_SQLITE = "", True
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", tmp_path / "hub.sqlite3")
    return tmp_path / "hub.sqlite3"


def test_the_lock_lies_beside_the_database(database) -> None:
    assert lock_path() == database.with_name("hub.sqlite3.lock")


def test_a_link_to_the_database_has_the_same_lock(database, settings, monkeypatch) -> None:
    database.touch()
    link = database.with_name("link.sqlite3")
    link.symlink_to(database)
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", link)
    assert lock_path() == database.with_name("hub.sqlite3.lock")


@pytest.mark.parametrize("changes", [{"REDIS_URL": "redis://127.0.0.1/0"}, {"ON_SQLITE": False}])
def test_where_several_processes_may_run_nothing_is_locked(database, settings, changes) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    with only_process(), only_process():
        assert list(database.parent.iterdir()) == []


def test_a_second_holder_is_refused_until_the_first_is_done(database) -> None:
    refused = pytest.raises(AlreadyRunning, match=r"hub.sqlite3.lock is locked\); several processes need REDIS_URL")
    with only_process(), refused, only_process():
        pytest.fail("held twice")
    with only_process():
        assert lock_path().exists()


def test_a_killed_process_leaves_nothing_locked(database) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DB_DSN": f"sqlite:///{database}",
        "TEST_REDIS_URL": "",
    }
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning), only_process():
            pytest.fail("held twice")
        other.kill()
    with only_process():
        assert other.returncode < 0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    folder = tmp_path_factory.mktemp("onlyone")
    with running_hub(folder, DB_DSN=f"sqlite:///{folder}/hub.sqlite3", REDIS_URL="") as hub:
        yield hub


@pytest.mark.parametrize(("command", "ending"), [("serve", ""), ("demo", "; nothing was changed")])
def test_a_second_hub_is_refused_with_one_line(hub, command, ending) -> None:
    second = subprocess.run(
        [sys.executable, ROOT / "manage.py", command], env={**hub.env, "POOLHUB_PORT": str(free_port())},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr == (
        "CommandError: a hub runs on this database already (hub.sqlite3.lock is locked); "
        f"several processes need REDIS_URL{ending}\n"
    )
    assert hub.process.poll() is None
