"""`manage.py demo`, which `make run` calls."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User

from poolhub import demo, envfile
from tests.hub import ROOT, free_port, fresh_database, fresh_redis, sql

pytestmark = pytest.mark.once
MINERS = 5


@dataclass(frozen=True)
class Place:
    """A folder with a .env of its own, as `make run` finds the project's root."""

    folder: Path
    dsn: str
    base: str

    @contextmanager
    def started(self, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, ROOT / "manage.py", "demo", "--miners", str(MINERS), *arguments],
            cwd=self.folder, env=bare(POOLHUB_ENV_FILE=str(self.folder / ".env"), **env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.terminate()

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        with self.started(*arguments, **env) as process:
            out, err = process.communicate(timeout=90)
        return process.returncode, out, err


def bare(**env: str) -> dict[str, str]:
    """No setting but these."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONWARNINGS": "default", **env}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    shutil.copy(ROOT / ".env.example", tmp_path)
    envfile.write(tmp_path)
    with fresh_database(migrated=True) as dsn:
        port, file = free_port(), tmp_path / ".env"
        changes = {"DB_DSN": dsn, "REDIS_URL": fresh_redis(), "POOLHUB_PORT": str(port)}
        text = file.read_text()
        for name, value in changes.items():
            text = re.sub(rf"^{name}=.*$", lambda _, told=f"{name}={value}": told, text, flags=re.MULTILINE)
        file.write_text(text)
        yield Place(tmp_path, dsn, f"http://127.0.0.1:{port}")


def told_until(process: subprocess.Popen[str], start: str) -> str:
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith(start):
            return told
    raise AssertionError(f"it ended: {told}{process.stderr.read()}")


def shown_match(told: str) -> tuple[int, int, str]:
    """Eligible, considered and the explain string."""
    counted = re.search(r"^POST /v1/match: (\d+) of (\d+) miners are eligible, the best:$", told, re.MULTILINE)
    explained = re.search(r"^explain: (.+)$", told, re.MULTILINE)
    assert counted
    assert explained
    return int(counted[1]), int(counted[2]), explained[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl runs the line that is shown")
def test_it_shows_a_match_and_a_line_that_repeats_it_and_may_be_run_again(place) -> None:
    with place.started() as process:
        told = told_until(process, "admin: ")
        eligible, considered, explain = shown_match(told)
        assert considered == MINERS
        assert f"{MINERS} mock miners are live on real sockets\n" in told
        assert len(re.findall(r"^  0\.\d{4}  seed-\d+  .+, eu.*$", told, re.MULTILINE)) == min(eligible, 3)
        line = told[told.index("curl ") : told.index("\nadmin: ")].strip()
        secret = re.search(r"^COORDINATOR_SHARED_SECRET=(.+)$", (place.folder / ".env").read_text(), re.MULTILINE)[1]
        assert secret not in told
        answer = json.loads(
            subprocess.run(["sh", "-c", line], cwd=place.folder, env=bare(), capture_output=True, check=True).stdout
        )
        assert (answer["eligible"], answer["considered"]) == (eligible, MINERS)
        assert answer["explain"].split(" ")[0] == explain.split(" ")[0]
        login = re.fullmatch(r"login: (admin) / (\S{16})   \(shown this once\)\n", process.stdout.readline())
        with httpx.Client(base_url=place.base, follow_redirects=True) as browser:
            browser.get("/admin/login/")
            token = browser.cookies["poolhub_csrf"]
            form = {"username": login[1], "password": login[2], "csrfmiddlewaretoken": token, "next": "/admin/"}
            assert browser.post("/admin/login/", data=form, headers={"Referer": place.base}).url.path == "/admin/"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (0, "\nstopped\n", "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(place.base)
    assert sql(place.dsn, "SELECT count(*) FROM matching_matchrecord WHERE job_id = 'first-match'") == [(2,)]

    # again, now for --once and on any free port: nothing is made twice, and no password is shown
    code, out, err = place.run("--once", POOLHUB_PORT="0")
    assert (code, err) == (0, "")
    assert shown_match(out)[1] == MINERS
    assert re.search(r"^admin: http://127\.0\.0\.1:[1-9]\d+/admin/   API: ", out, re.MULTILINE)
    assert "login" not in out
    assert sql(place.dsn, "SELECT count(*) FROM auth_user") == [(1,)]
    assert sql(place.dsn, "SELECT count(*) FROM miners_miner") == [(MINERS,)]


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"ENROLLMENT": "closed"}, "the mock miners need ENROLLMENT=open"),
        ({"COORDINATOR_SHARED_SECRET": ""}, "COORDINATOR_SHARED_SECRET is empty: no match can be asked for"),
    ],
)
def test_settings_that_let_it_show_nothing_are_refused_before_anything_is_changed(place, env, line) -> None:
    assert place.run("--once", **env) == (1, "", f"CommandError: {line}\n")
    assert sql(place.dsn, "SELECT count(*) FROM auth_user") == [(0,)]


def test_a_port_that_another_has_is_refused_before_anything_is_changed(place, live_hub) -> None:
    port = live_hub.env["POOLHUB_PORT"]
    line = f"CommandError: port {port} of 127.0.0.1 cannot be had: Address already in use\n"
    assert place.run("--once", POOLHUB_PORT=port) == (1, "", line)
    assert sql(place.dsn, "SELECT count(*) FROM auth_user") == [(0,)]


@pytest.mark.pure
def test_the_line_reads_the_secret_where_the_hub_has_it(settings, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POOLHUB_ENV_FILE", str(tmp_path / "my env"))
    settings.COORDINATOR_SHARED_SECRET = ("first-secret-000001", "second-secret-00002")
    (tmp_path / "my env").write_text("X=1\nCOORDINATOR_SHARED_SECRET=first-secret-000001,second-secret-00002\n")
    in_file = demo.secret_in_shell()
    (tmp_path / "my env").write_text('COORDINATOR_SHARED_SECRET="first-secret-000001"\n')
    in_environment = demo.secret_in_shell()
    monkeypatch.setenv("POOLHUB_ENV_FILE", "")
    assert demo.secret_in_shell() == in_environment
    (tmp_path / "my env").write_text("COORDINATOR_SHARED_SECRET=first-secret-000001,second-secret-00002\n")
    for word in (in_file, in_environment):
        shell = subprocess.run(
            ["sh", "-c", f'echo "{word}"'], env=bare(COORDINATOR_SHARED_SECRET="first-secret-000001,x"), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert shell.stdout == "first-secret-000001\n"


@pytest.mark.django_db(transaction=True)
def test_a_name_that_is_taken_is_left_alone() -> None:
    User.objects.create_user("admin", password="theirs-and-long-enough")
    made = demo.superuser_ensure()
    assert made is not None
    assert made[0].startswith("admin-")
    assert User.objects.get(username=made[0]).check_password(made[1])
    assert User.objects.get(username="admin").check_password("theirs-and-long-enough")
    assert demo.superuser_ensure() is None


@pytest.mark.pure
@pytest.mark.parametrize(
    ("host", "want"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://127.0.0.1:1"),  # noqa: S104
     ("::1", "http://[::1]:1"), ("hub.example.com", "http://hub.example.com:1")],
)  # fmt: skip
def test_an_address_for_people(settings, host, want) -> None:
    settings.POOLHUB_HOST = host
    assert demo.base_url(1) == want
