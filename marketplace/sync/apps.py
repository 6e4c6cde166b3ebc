from django.apps import AppConfig


class SyncConfig(AppConfig):
    name = "marketplace.sync"
    label = "sync"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marketplace.sync import tasks  # noqa: F401, PLC0415 -- registers the work functions
