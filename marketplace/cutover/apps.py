from django.apps import AppConfig


class CutoverConfig(AppConfig):
    name = "marketplace.cutover"
    label = "cutover"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marketplace.cutover import receivers, tasks  # noqa: F401, PLC0415 -- registers work and receivers
