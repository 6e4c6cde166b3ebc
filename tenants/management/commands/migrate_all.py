"""Shared tables, the template of the tenants' schemas, and every tenant: what a deployment runs."""

from typing import Any

from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import BaseCommand

from tenants.provisioning import ensure_template
from tenants.roles import ensure_roles


class Command(BaseCommand):
    help = "Migrate the shared tables, the tenants' template and every tenant."

    def handle(self, *args: Any, **options: Any) -> None:
        self.check(tags=[Tags.database], databases=["default"])
        call_command("migrate", interactive=False, verbosity=options["verbosity"], stdout=self.stdout)
        self.stdout.write(f"{ensure_roles()} tenants were given a role.")
        template = ensure_template()
        self.stdout.write(f"Template {template.digest[:12]}.")
        call_command("migrate_tenants", stdout=self.stdout)
