from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg_pool import PoolTimeout


def require_migrated() -> None:
    """CommandError, in one line, where the database does not answer or lacks its tables."""
    try:
        executor = MigrationExecutor(connection)
    except (DatabaseError, PoolTimeout) as error:
        raise CommandError(f"the database does not answer: {' '.join(str(error).split())}") from None
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError("the database is not migrated: run manage.py migrate")
