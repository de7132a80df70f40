from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PoolhubConfig(AppConfig):
    name = "poolhub"
    verbose_name = "Pool Hub"

    def ready(self) -> None:
        from poolhub import checks  # noqa: F401, PLC0415 - registers the checks, once the apps are there


class HubAdminConfig(AdminConfig):
    default_site = "poolhub.site.HubSite"
