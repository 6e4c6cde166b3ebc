"""Checks every audit trail against its own chain and against its anchors outside of the database."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marketplace.audit.tasks import broken_trails
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Check that no entry of any audit trail was changed, moved or taken out. Fails when one was."

    def handle(self, *args: Any, **options: Any) -> None:
        problems = broken_trails()
        if problems:
            raise CommandError("\n".join(problems))
        self.stdout.write(f"{Tenant.objects.count()} trails are whole.")
