"""Real PostgreSQL and Valkey for tests, from wheels: ``python -m tests.servers COMMAND …`` runs COMMAND beside them.

Each is started only where ``TEST_DB_DSN`` or ``TEST_REDIS_URL`` does not name another one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from poolhub.devservers import postgres, valkey


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """The environment that points tests at both."""
    with ExitStack() as stack:
        yield {
            "TEST_DB_DSN": os.environ.get("TEST_DB_DSN") or stack.enter_context(postgres()),
            "TEST_REDIS_URL": os.environ.get("TEST_REDIS_URL") or stack.enter_context(valkey()),
        }


def main(command: list[str]) -> int:
    with servers() as env:
        process = subprocess.Popen(command, env={**os.environ, **env})
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the command got the same signal: let it end first
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
