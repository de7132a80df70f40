"""The hub alone, all of it in this process: `make serve`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg_pool import PoolTimeout

from miners.registry import runtime
from poolhub.onlyone import AlreadyRunning, only_process


class Command(BaseCommand):
    help = "Serve HTTP and WebSockets on POOLHUB_HOST:POOLHUB_PORT until SIGTERM or Ctrl-C."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with only_process():
                self.require_migrated()
                self.serve()
        except AlreadyRunning as error:
            raise CommandError(str(error)) from None

    def require_migrated(self) -> None:
        try:
            executor = MigrationExecutor(connection)
        except (DatabaseError, PoolTimeout) as error:
            raise CommandError(f"the database does not answer: {' '.join(str(error).split())}") from None
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError("the database is not migrated: run manage.py migrate")

    def serve(self) -> None:
        # imported late: the first import of Twisted's reactor chooses its event loop
        from daphne import server as _reactor  # noqa: F401, PLC0415

        from poolhub.asgi import application  # noqa: PLC0415
        from poolhub.server import HubServer, endpoint_of  # noqa: PLC0415

        runtime.get_registry()  # loaded before anybody asks
        connection.close()
        endpoint = endpoint_of(settings.POOLHUB_HOST, settings.POOLHUB_PORT)
        server = HubServer(application, endpoint=endpoint, ready=self.greet)
        try:
            server.run()
        finally:
            runtime.stop()
        if server.failure is not None:
            raise CommandError(f"the hub cannot listen: {server.failure}")

    def greet(self, port: int) -> None:
        host = settings.POOLHUB_HOST.strip("[]")
        shown = f"[{host}]" if ":" in host else host
        self.stdout.write(f"Pool Hub listens on http://{shown}:{port} (admin at /admin/, API at /v1/docs)")
        self.stdout.flush()
