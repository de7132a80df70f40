from django.apps import AppConfig


class MatchingConfig(AppConfig):
    name = "matching"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # imported here: models are there only now
        from matching.reservations.runtime import attach  # noqa: PLC0415
        from miners.registry import runtime  # noqa: PLC0415

        runtime.attach("ledger", attach)
