"""Users, firms, tenants, memberships, and the tenant context that everything else works in."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from tenants import confirming, firms, roles  # noqa: F401, PLC0415 -- they register receivers and a check
