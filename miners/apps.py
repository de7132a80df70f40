from django.apps import AppConfig


class MinersConfig(AppConfig):
    name = "miners"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # imported here: models are there only now
        from miners import pacing  # noqa: PLC0415
        from miners.regions import probes, table  # noqa: PLC0415
        from miners.registry import runtime  # noqa: PLC0415
        from miners.services import delivery  # noqa: PLC0415

        runtime.attach("pace", pacing.repace)
        runtime.every(pacing.REPACE_S, pacing.repace, "pace")
        runtime.attach("regions", table.attach)
        runtime.every(probes.FLUSH_S, probes.probes.flush, "region-probes")
        runtime.attach("commands", delivery.join)
        runtime.every(delivery.RETRY_S, delivery.delivery.run, delivery.JOB)
        runtime.every(delivery.LOOK_S, delivery.delivery.look, "commands-look")
        runtime.every(delivery.EXPIRE_S, delivery.commands_expire, "commands-expire")
