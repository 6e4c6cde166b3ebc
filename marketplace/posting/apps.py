from django.apps import AppConfig


class PostingConfig(AppConfig):
    name = "marketplace.posting"
    label = "posting"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marketplace.posting import drafting, receivers, tasks  # noqa: F401, PLC0415 -- registers work and receivers
