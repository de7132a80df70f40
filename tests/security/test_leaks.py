"""The scan for secrets finds what is planted, and knows what is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import ROOT
from tests.security import leaks

pytestmark = pytest.mark.pure
KNOWN = json.loads((ROOT / leaks.BASELINE).read_text())
PLANTED = {
    "settings.py": ("Secret Keyword", 'PASSWORD = "%s"' % ("Tr0ub4dor" + "-and-3")),
    "hub.env": ("Secret Keyword", "ADMIN_SHARED_SECRET=%s" % ("q8Zt1mVx" * 4)),
    "keys.md": ("AWS Access Key", "`%s`" % ("AKIA" + "IOSFODNN7EXAMPLE")),
    "key.pem": ("Private Key", "-----BEGIN EC " + "PRIVATE KEY-----"),
    "curl.sh": ("JSON Web Token", "curl -H 'Authorization: Bearer %s'" % (
        "eyJhbGciOiJFZERTQSJ9" + ".eyJzdWIiOiJtMSJ9" + ".c2lnbmF0dXJlLW9mLWEtdG9rZW4")),
    "dsn.toml": ("Basic Auth Credentials", "dsn = 'postgresql://hub:%s@db/hub'" % ("Kw3" + "rty9")),
    "chain.json": ("Hex High Entropy String", '{"account": "%s"}' % ("8f2a559490cc2a7ab61c32ed3d8060216" + "ee02e4960a83f97bde6ceb39d4b4d5e")),
}  # fmt: skip


@pytest.fixture(autouse=True)
def at_root(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_secret_is_found(tmp_path, name) -> None:
    kind, line = PLANTED[name]
    (tmp_path / name).write_text(f"# nothing here\n{line}\n")
    found, known = leaks.scan([str(tmp_path / name)])
    assert kind in {secret.type for _, secret in found - known}


def test_a_secret_fails_the_check_until_it_is_gone(tmp_path) -> None:
    """In a copy of what the scan needs, without git."""
    (tmp_path / "tests" / "security").mkdir(parents=True)
    for name in ("tests/security/leaks.py", "tests/security/__init__.py", "tests/__init__.py", ".gitignore"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / leaks.BASELINE).write_text(json.dumps({**KNOWN, "results": {}}))
    (tmp_path / ".env").write_text(PLANTED["hub.env"][1])  # which git ignores
    assert checked(tmp_path) == (0, "no secret in 5 files; 0 known to be none\n")
    (tmp_path / "hub.conf").write_text(PLANTED["hub.env"][1])
    code, told = checked(tmp_path)
    assert (code, told.splitlines()[0]) == (1, "hub.conf:1: Secret Keyword, which is not in .secrets.baseline")
    assert checked(tmp_path, "--accept") == (0, "")
    assert checked(tmp_path) == (0, "no secret in 6 files; 1 known to be none\n")
    assert PLANTED["hub.env"][1].partition("=")[2] not in (tmp_path / leaks.BASELINE).read_text()
    (tmp_path / "hub.conf").unlink()
    code, told = checked(tmp_path)
    assert (code, told.splitlines()[0]) == (1, "hub.conf: Secret Keyword of .secrets.baseline is there no more")


def checked(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.security.leaks", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_baseline_names_no_machine_and_asks_nobody() -> None:
    assert [name for name in KNOWN["results"] if name.startswith("/") or not (ROOT / name).is_file()] == []
    assert not [each["path"] for each in KNOWN["filters_used"] if "verif" in each["path"]]
    assert "generated_at" not in KNOWN


def test_every_file_of_the_repository_is_looked_at() -> None:
    names = leaks.files(ROOT)
    assert {"Makefile", ".env.example", "poolhub/settings.py", "deploy/nginx.conf", ".ci/run"} <= set(names)
    assert not [name for name in names if name.startswith(".venv/")]
