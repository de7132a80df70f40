"""Asks each part for its health all the time, in a process of its own, so that the load does not slow the questions:
``python -m tests.chaos.watching PART=PORT …`` says one answer a line. The monotonic clock is one for all processes.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tests.chaos.journal import Health, Journal
from tests.hub import ROOT

EVERY_S, TIMEOUT_S = 0.3, 10.0


class Watcher:
    def __init__(self, journal: Journal, ports: dict[str, int]) -> None:
        self._journal = journal
        command = [sys.executable, "-m", __name__, *(f"{part}={port}" for part, port in ports.items())]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._note, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def _note(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._journal.health.append(Health(**json.loads(line)))


def ask(part: str, port: int) -> dict[str, Any]:
    """On a new connection each time, so that no one worker is asked alone."""
    said, db, redis, asked = "no answer", "", "", time.monotonic()
    with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/v1/health")
            found = json.loads(connection.getresponse().read())
            if isinstance(found["status"], str):  # else a problem, not its word on its health
                said, db, redis = found["status"], found["db"], found["redis"]
        finally:
            connection.close()
    return {"part": part, "said": said, "db": db, "redis": redis, "asked": asked, "at": time.monotonic()}


def main(parts: list[str]) -> None:
    writing = threading.Lock()

    def watch(part: str, port: int) -> None:
        while True:
            told = json.dumps(ask(part, port))
            with writing:
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()
            time.sleep(EVERY_S)

    for each in parts:
        part, _, port = each.partition("=")
        threading.Thread(target=watch, args=(part, int(port)), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
