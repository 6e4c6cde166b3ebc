from django.apps import AppConfig


class InstallationsConfig(AppConfig):
    name = "marketplace.installations"
    label = "installations"
    default_auto_field = "django.db.models.BigAutoField"
