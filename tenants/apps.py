"""Users, firms, tenants, memberships, and the tenant context that everything else works in."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"
