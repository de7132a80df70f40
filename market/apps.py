from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # imported here: models are there only now
        from market.runtime import attach  # noqa: PLC0415
        from miners.registry import runtime  # noqa: PLC0415

        runtime.attach("market", attach)
