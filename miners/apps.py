from django.apps import AppConfig


class MinersConfig(AppConfig):
    name = "miners"
    default_auto_field = "django.db.models.BigAutoField"
