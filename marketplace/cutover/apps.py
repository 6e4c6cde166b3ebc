from django.apps import AppConfig


class CutoverConfig(AppConfig):
    name = "marketplace.cutover"
    label = "cutover"
    default_auto_field = "django.db.models.BigAutoField"
