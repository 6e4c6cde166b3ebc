"""Brings every tenant's schema to the code's migrations."""

from typing import Any

from django.core.management.base import BaseCommand

from tenants.provisioning import migrate_tenants


class Command(BaseCommand):
    help = "Bring every tenant's schema to the code's migrations. Can be stopped and run again."

    def handle(self, *args: Any, **options: Any) -> None:
        moved = migrate_tenants(report=self.stdout.write)
        self.stdout.write(f"{moved.replayed} tenants replayed, {moved.migrated} migrated one by one.")
