"""Django's backend of PostgreSQL, which refuses callers at once while the server stands still (see `patience`)."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from poolhub.common.postgres import patience


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """From the pool."""
        if not patience.serving():
            return super().get_new_connection(conn_params)
        if not patience.breaker.allows():
            raise psycopg.OperationalError("the database stood still a moment ago")
        try:
            found = super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            if patience.breaker.failing():  # else it may be the pool alone that has none left
                patience.breaker.failed()
            raise
        patience.breaker.worked()
        return found
