"""Processes that one process starts, watches and ends. Should it be killed itself, Linux asks them to end."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TIED = ("setpriv", "--pdeathsig", "TERM", "--") if shutil.which("setpriv") else ()  # a part of util-linux


class Child:
    """A process in a session of its own, so that Ctrl-C reaches its parent alone. Its lines are told with its name."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        tell: Callable[[str], object],
        gentle: int = signal.SIGTERM,
    ) -> None:
        """gentle: the signal on which it finishes what is under way, and ends."""
        self.name = name
        self._command, self._env, self._tell, self._gentle = command, env, tell, gentle
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*TIED, *command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._log = threading.Thread(target=self._hand_on, args=(self.process.stdout, tell), daemon=True)
        self._log.start()

    @property
    def code(self) -> int | None:
        """None while it runs; 128 + the signal's number where one has ended it, as shells say it."""
        code = self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def ask_to_end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self._gentle)

    def wait(self, limit_s: float) -> bool:
        """Until it has ended; False where it had to be killed, with all of its session."""
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False
        finally:
            self._log.join(1)  # what it has started may hold the pipe open
        return True

    def sweep(self) -> None:
        """Kill what it has left behind in its session, for it has ended: it may hold a port."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def again(self) -> "Child":
        """Started once more, the same way."""
        return Child(self.name, self._command, env=self._env, tell=self._tell, gentle=self._gentle)

    def _hand_on(self, source: IO[str], tell: Callable[[str], object]) -> None:
        with source:
            for line in source:
                tell(f"{self.name:<9}| {line.rstrip()}")
