from django.apps import AppConfig


class InstallationsConfig(AppConfig):
    name = "marketplace.installations"
    label = "installations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marketplace.installations import tasks  # noqa: F401, PLC0415 -- registers the work functions
        from marketplace.installations.registrations import refuse_unsigned_sources  # noqa: PLC0415 -- needs loaded models

        refuse_unsigned_sources()
