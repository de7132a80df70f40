"""`.env` as `make run` makes it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from poolhub.envfile import SECRETS, write
from tests.hub import ROOT

pytestmark = pytest.mark.pure
EXAMPLE = (ROOT / ".env.example").read_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".env.example").write_bytes(EXAMPLE)
    return tmp_path


def values(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", file.read_text(), re.MULTILINE))


def test_every_secret_is_filled_with_a_long_one_of_its_own(root) -> None:
    assert write(root)
    made = values(root / ".env")
    found = [made[name] for name in SECRETS]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{64}", secret) for secret in found)
    assert len(set(found)) == len(SECRETS)


def test_two_files_have_no_secret_in_common(root, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / ".env.example").write_bytes(EXAMPLE)
    write(root)
    write(other)
    first, second = values(root / ".env"), values(other / ".env")
    assert all(first[name] != second[name] for name in SECRETS)


def test_nothing_else_of_the_example_is_changed(root) -> None:
    write(root)
    emptied = re.sub(rf"^({'|'.join(SECRETS)})=.*$", r"\1=", (root / ".env").read_text(), flags=re.MULTILINE)
    assert emptied.encode() == EXAMPLE


def test_only_its_owner_may_read_it(root) -> None:
    before = os.umask(0)
    try:
        write(root)
    finally:
        os.umask(before)
    assert (root / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("held", [b"", b"SECRET_KEY=\r\n# mine\xff\n", EXAMPLE])
def test_an_existing_file_is_left_alone_byte_for_byte(root, held) -> None:
    (root / ".env").write_bytes(held)
    (root / ".env").chmod(0o644)
    assert not write(root)
    assert (root / ".env").read_bytes() == held
    assert (root / ".env").stat().st_mode & 0o777 == 0o644


def test_it_is_made_before_anything_is_installed_or_set_and_starts_the_settings(root) -> None:
    make = f"from pathlib import Path; from poolhub.envfile import write; write(Path({str(root)!r}))"
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-S", "-c", make], env=bare, check=True, timeout=60)
    read = "from poolhub import settings; print(settings.COORDINATOR_SHARED_SECRET[0], settings.ENROLLMENT)"
    started = subprocess.run(
        [sys.executable, "-c", read], env={**bare, "POOLHUB_ENV_FILE": str(root / ".env")}, check=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert started.stdout.split() == [values(root / ".env")["COORDINATOR_SHARED_SECRET"], "open"]
    assert started.stderr == ""
