"""`make help`, and that what it lists is there."""

import re
import subprocess

import pytest

from tests.hub import ROOT

pytestmark = pytest.mark.pure
MAKEFILE = (ROOT / "Makefile").read_text()


def make(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_make_alone_lists_every_command_with_what_it_does() -> None:
    listed = re.findall(r"^make ([a-z-]+) +(\S.*)$", make(), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()
    assert sorted(name for name, _ in listed) == sorted(phony)
    assert make("help") == make()


@pytest.mark.parametrize("command", ["run", "serve", "test", "test-browser", "chaos", "screenshots", "check"])
def test_the_commands_call_modules_and_files_that_are_there(command) -> None:
    told = make("--dry-run", "--always-make", command)
    for name in re.findall(r"-r (\S+\.txt)", told):
        assert (ROOT / name).exists()
    for name in re.findall(r"POOLHUB_ENV_FILE=(\S+)", told):
        assert (ROOT / name).exists()
    for name in re.findall(r"-m ((?:poolhub|tests)\.[\w.]+)", told):
        module = ROOT / name.replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def test_ci_calls_the_same_commands() -> None:
    called = re.findall(r"^make ([a-z-]+)\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert called == ["check", "test-browser", "test"]
