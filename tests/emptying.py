"""The end of a test that commits: the tables that it filled are emptied.

Django's own way empties all tables, and makes content types, permissions and roles anew, after each test: several times
what most tests take.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction

from access.roles import Role

KEPT = {"django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions"}


def teardown(whole: Callable[[Any], None]) -> Callable[[Any], None]:
    """whole: Django's own, for whoever has changed what is kept."""

    def empty(self: Any) -> None:
        before = kept()
        if before is None or before != marks.setdefault(connection.alias, before):
            marks.pop(connection.alias, None)
            whole(self)
            return
        filled = tables_filled()
        if not filled:
            return
        names = [connection.ops.quote_name(name) for name in filled]
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            else:
                for name in names:
                    cursor.execute(f"DELETE FROM {name}")

    return empty


marks: dict[str, tuple[int, int, int]] = {}


def kept() -> tuple[int, int, int] | None:
    """Of permissions and roles, enough to see a change; None where the roles are not all there and nothing else."""
    groups = set(Group.objects.values_list("name", flat=True))
    if groups != {role.value for role in Role}:
        return None
    through: Any = Group.permissions.through
    held = through.objects.count()
    newest = through.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return Permission.objects.count(), held, newest


def tables_filled() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(question())
        return [name for (name,) in cursor.fetchall()]


@cache
def question() -> str:
    """One statement that names the tables that have rows."""
    quote = connection.ops.quote_name
    names = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    parts = [f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {quote(name)})" for name in names]
    return " UNION ALL ".join(parts)
