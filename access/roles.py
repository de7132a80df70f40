"""Roles: groups whose permissions are this file's, set anew at every `migrate`.

Permissions exist only once `migrate` is through, and every later app adds its own: so the roles follow `post_migrate`,
not a migration, and a new model falls into them by itself. Somebody who needs another mix makes a group of their own,
which is left alone.
"""

from enum import StrEnum
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import transaction


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


# Of the hub's own apps; the tables of others (sessions, content types) are nobody's business.
POOL_APPS = frozenset({"miners", "matching", "feedback", "market", "settlement"})
LOG = "access.change"  # seen by all, changed by nobody
ACCESS = frozenset({"auth.user", "auth.group", "axes.accessattempt"})

# What may be seen but is not an operator's to change: it decides whom the hub believes, or cannot be brought back.
ADMINISTRATORS_ALONE = frozenset({"miners.delete_miner"})
# All of these models: whom the hub asks for prices, with its keys, what a price is worth, whose manifests count.
MODELS_OF_ADMINISTRATORS = frozenset({"market.pricefeed", "market.priceunit", "miners.manifestissuer"})
# Deleting an override is ending it; a round trip that is measured comes back; an alias is a correction.
OPERATORS_MAY_DELETE = frozenset({"miners.priceoverride", "miners.roundtrip", "market.gpualias"})

DESCRIPTIONS = {
    Role.VIEWER: "sees the pool, jobs and the log of changes; changes nothing",
    Role.OPERATOR: "also acts on the pool: miners, keys, commands, prices, replay of settlements",
    Role.ADMINISTRATOR: "also removes miners, sets up price feeds and issuers, and says who may log in",
}


def permits(role: Role, app: str, model: str, codename: str) -> bool:
    """Whether a role has a permission (`miners`, `miner`, `change_miner`)."""
    verb, label = codename.partition("_")[0], f"{app}.{model}"
    if role is Role.ADMINISTRATOR and label != LOG:
        return app in POOL_APPS or label in ACCESS
    if label == LOG:
        return verb == "view"
    if app not in POOL_APPS:
        return False
    if verb == "view":
        return True
    alone = f"{app}.{codename}" in ADMINISTRATORS_ALONE or label in MODELS_OF_ADMINISTRATORS
    if role is Role.VIEWER or alone:
        return False
    return verb in ("add", "change") or label in OPERATORS_MAY_DELETE


def roles_apply(*, using: str = "default") -> None:
    """Make the three groups have exactly their permissions; safe to run twice, and at once."""
    known = list(
        Permission.objects.using(using).values_list("pk", "content_type__app_label", "content_type__model", "codename")
    )
    with transaction.atomic(using=using):
        for role in Role:
            group, _ = Group.objects.using(using).get_or_create(name=role.value)
            wanted = {pk for pk, app, model, codename in known if permits(role, app, model, codename)}
            _set(group, wanted, using)


def _set(group: Group, wanted: set[int], using: str) -> None:
    through: Any = Group.permissions.through
    rows = through.objects.using(using)
    has = set(rows.filter(group=group).values_list("permission", flat=True))
    rows.filter(group=group, permission__in=has - wanted).delete()
    new = [through(group=group, permission_id=pk) for pk in sorted(wanted - has)]
    rows.bulk_create(new, ignore_conflicts=True)


def after_migrate(sender: object, *, using: str, **_: object) -> None:
    roles_apply(using=using)
