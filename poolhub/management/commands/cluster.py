"""A hub of several processes, with its databases: `make cluster`."""

import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from poolhub import cluster


class Command(BaseCommand):
    help = (
        "Serve as in production: REST workers on POOLHUB_PORT, two socket processes on the next two ports, a worker, "
        "and nginx on POOLHUB_PORT + 10 where it is installed. PostgreSQL and Valkey are started too, where DB_DSN "
        "names no PostgreSQL or REDIS_URL is empty. Ends on SIGTERM or Ctrl-C."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        text = "folder in which PostgreSQL and Valkey keep their data; else it goes with them"
        parser.add_argument("--data", type=Path, metavar="DIR", help=text)
        text = "start parts that end by themselves again, as systemd does in production; else the cluster ends too"
        parser.add_argument("--restart", action="store_true", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        data: Path | None = options["data"]
        try:
            kept_in = data and data.resolve()
            code = cluster.run(kept_in=kept_in, stop=stop, tell=self.tell, restart=options["restart"])
        except cluster.ClusterFailed as error:
            raise CommandError(str(error), returncode=error.code) from None
        if code:
            raise SystemExit(code)

    def tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
