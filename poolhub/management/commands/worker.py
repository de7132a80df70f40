"""The chores of a cluster, beside its web and socket processes."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from miners.registry import keeper, runtime
from poolhub import chores, process
from poolhub.common import redis


class Command(BaseCommand):
    help = "Do the chores of a hub of several processes until SIGTERM or Ctrl-C; two of them share the work."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.REDIS_URL:
            raise CommandError("a worker needs REDIS_URL: a hub of one process does its chores itself")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        process.begin(serves=False)
        runtime.every(keeper.PERIOD_S, runtime.snapshot_make, "snapshot")
        try:
            with chores.outside(stop):
                chores.Worker(chores.ALL, redis.client()).run(stop)
        finally:
            process.end()
