"""`make run`: the hub, live mock miners and one match."""

import os
import signal
import subprocess
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from poolhub.demo import (
    DemoFailed,
    base_url,
    child,
    match_shown,
    port_to_use,
    require_runnable,
    superuser_ensure,
    wait_for_line,
    wait_healthy,
)
from poolhub.management.migrated import require_migrated
from poolhub.onlyone import AlreadyRunning, only_process


class Command(BaseCommand):
    help = "Run the hub with live mock miners, show one match, and go on until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--miners", type=int, default=200, help="mock miners with real sockets (default 200)")
        parser.add_argument("--once", action="store_true", help="end after the match has been shown")

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            self.run(options["miners"], once=options["once"])
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            self.tell("\nstopped")

    def run(self, miners: int, *, once: bool) -> None:
        try:
            with only_process():
                require_runnable()
                port = port_to_use()
                require_migrated()
                user = superuser_ensure()
        except AlreadyRunning as error:
            raise CommandError(f"{error}; nothing was changed") from None
        connection.close()
        self.show(miners, port, user, once=once)

    def show(self, miners: int, port: int, user: tuple[str, str] | None, *, once: bool) -> None:
        base = base_url(port)
        env = {**os.environ, "POOLHUB_PORT": str(port)}
        level = "WARNING" if settings.LOG_LEVEL == "INFO" else settings.LOG_LEVEL  # 200 registrations say little
        seed = ("seed_miners", "--live", "--count", str(miners), "--verbosity", "0")
        with child("serve", env={**env, "LOG_LEVEL": level}) as hub:
            wait_healthy(hub, base)
            with child(*seed, env=env, stdout=subprocess.PIPE) as mocks:
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
