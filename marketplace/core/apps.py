from importlib import import_module

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "marketplace.core"
    label = "core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # The Celery application has to exist in every process that wakes workers; it lies above this slice.
        import_module("marketplace.celery")
