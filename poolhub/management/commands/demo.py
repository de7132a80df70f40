"""`make run`: the hub, live mock miners and one match."""

import os
import signal
import subprocess
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from poolhub.demo import DemoFailed, base_url, child, match_shown, superuser_ensure, wait_for_line, wait_healthy
from poolhub.onlyone import AlreadyRunning, only_process


class Command(BaseCommand):
    help = "Run the hub with live mock miners, show one match, and go on until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--miners", type=int, default=200, help="mock miners with real sockets (default 200)")
        parser.add_argument("--once", action="store_true", help="end after the match has been shown")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with only_process():
                pass
        except AlreadyRunning as error:
            raise CommandError(f"{error}; nothing was changed") from None
        user = superuser_ensure()
        connection.close()
        try:
            self.show(options["miners"], user, once=options["once"])
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            self.stdout.write("\nstopped")

    def show(self, miners: int, user: tuple[str, str] | None, *, once: bool) -> None:
        base = base_url()
        quiet = {**os.environ, "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING")}  # 200 registrations say little
        with child("serve", env=quiet) as hub:
            wait_healthy(hub, base)
            with child("seed_miners", "--live", "--count", str(miners), stdout=subprocess.PIPE) as mocks:
                wait_for_line(mocks, f"{miners} miners are live", self.tell)
                self.tell(f"{miners} mock miners are live on real sockets")
                self.tell(match_shown(base))
                self.tell(f"\nadmin: {base}/admin/   API: {base}/v1/docs")
                if user is not None:
                    self.tell(f"login: {user[0]} / {user[1]}   (shown this once)")
                while not once:
                    if hub.poll() is not None:
                        raise DemoFailed("the hub ended")
                    if mocks.poll() is not None:
                        raise DemoFailed("the mock miners ended")
                    time.sleep(0.5)

    def tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
