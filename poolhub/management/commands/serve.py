"""The hub alone, all of it in this process: `make serve`."""

import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from miners.registry import runtime
from poolhub import chores, otel
from poolhub.common.postgres import patience
from poolhub.management.migrated import require_migrated
from poolhub.onlyone import AlreadyRunning, only_process


class Command(BaseCommand):
    help = "Serve HTTP and WebSockets on POOLHUB_HOST:POOLHUB_PORT until SIGTERM or Ctrl-C."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with only_process():
                require_migrated()
                self.serve()
        except AlreadyRunning as error:
            raise CommandError(str(error)) from None

    def serve(self) -> None:
        # imported late: the first import of Twisted's reactor chooses its event loop
        from daphne import server as _reactor  # noqa: F401, PLC0415

        from poolhub.asgi import application  # noqa: PLC0415
        from poolhub.server import HubServer, endpoint_of  # noqa: PLC0415

        patience.serve()
        otel.begin()
        runtime.get_registry()  # loaded before anybody asks
        connection.close()
        endpoint = endpoint_of(settings.POOLHUB_HOST, settings.POOLHUB_PORT)
        server = HubServer(application, endpoint=endpoint, ready=self.greet)
        try:
            with chores.outside(threading.Event()):
                server.run()
        finally:
            runtime.stop()
            otel.end()
        if server.failure is not None:
            raise CommandError(f"the hub cannot listen: {server.failure}")

    def greet(self, port: int) -> None:
        host = settings.POOLHUB_HOST
        shown = f"[{host}]" if ":" in host else host
        self.stdout.write(f"Pool Hub listens on http://{shown}:{port} (admin at /admin/, API at /v1/docs)")
        self.stdout.flush()
