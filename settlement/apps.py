from django.apps import AppConfig


class SettlementConfig(AppConfig):
    name = "settlement"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # imported here: models are there only now
        from feedback import receivers  # noqa: PLC0415
        from settlement.services.outbox import event_queue  # noqa: PLC0415

        receivers.receive("settlement", event_queue)
