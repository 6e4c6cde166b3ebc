from django.apps import AppConfig


class PostingConfig(AppConfig):
    name = "marketplace.posting"
    label = "posting"
    default_auto_field = "django.db.models.BigAutoField"
