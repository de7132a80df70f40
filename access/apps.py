from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccessConfig(AppConfig):
    """The last of the installed apps: when its turn comes after a `migrate`, all permissions are there."""

    name = "access"
    verbose_name = "Access"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from access.roles import after_migrate  # noqa: PLC0415 - models are there only now

        post_migrate.connect(after_migrate, sender=self, dispatch_uid="access.roles")
