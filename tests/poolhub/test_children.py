"""Processes that a cluster starts, watches and ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from poolhub.children import Child
from tests.hub import ROOT
from tests.waiting import until

pytestmark = pytest.mark.pure
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("below", below.pid, flush=True)
time.sleep(60)
"""


def child(code: str, told: list[str], **options) -> Child:
    return Child("name", [sys.executable, "-c", code], env=dict(os.environ), tell=told.append, **options)


def test_its_lines_are_told_with_its_name() -> None:
    told: list[str] = []
    started = child("import sys; print('one'); print('two', file=sys.stderr); sys.stdout.buffer.write(b'\\xff')", told)
    assert started.wait(20)
    assert sorted(told) == ["name     | one", "name     | two", "name     | \ufffd"]
    assert started.code == 0


@pytest.mark.parametrize(("code", "want"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_its_code_is_as_shells_say_it(code, want) -> None:
    started = child(code, [])
    assert started.wait(20)
    assert started.code == want


def test_it_is_asked_with_its_own_signal_and_asking_again_does_no_harm() -> None:
    told: list[str] = []
    code = (
        "import signal; signal.signal(signal.SIGQUIT, lambda *_: exit(5)); print('ready', flush=True); signal.pause()"
    )
    started = child(code, told, gentle=signal.SIGQUIT)
    while not told:
        assert started.code is None
    started.ask_to_end()
    assert started.wait(20)
    started.ask_to_end()
    assert started.code == 5


def test_what_does_not_end_is_killed_with_all_that_it_has_started() -> None:
    told: list[str] = []
    started = child(STUBBORN, told)
    while not told:
        assert started.code is None
    started.ask_to_end()
    assert not started.wait(0.2)
    assert started.code == 137
    below = int(told[0].rpartition(" ")[2])
    until(lambda: not is_running(below), 10, "what it has started is gone")


PARENT = """
import os, signal, sys
from poolhub.children import Child
started = Child("name", [sys.executable, "-c", "import signal; signal.pause()"], env=dict(os.environ), tell=print)
print(started.process.pid, flush=True)
signal.pause()
"""


def test_it_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.communicate()
    until(lambda: not is_running(pid), 10, "the child is gone")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
