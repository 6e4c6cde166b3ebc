"""Shared tables, the template of the tenants' schemas, and every tenant: what a deployment runs."""

import time
from collections.abc import Callable
from typing import Any

from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from tenants.provisioning import ensure_template, giving_up_locks
from tenants.roles import ensure_roles

#: Seconds before each further try.
PAUSES: tuple[float, ...] = (2, 5, 15, 30)


class Command(BaseCommand):
    help = "Migrate the shared tables, the tenants' template and every tenant. Can be stopped and run again."

    def handle(self, *args: Any, **options: Any) -> None:
        self.check(tags=[Tags.database], databases=["default"])
        self._patiently(lambda: self._migrate_shared(options["verbosity"]))
        self.stdout.write(f"{ensure_roles()} tenants were given a role.")
        template = ensure_template()
        self.stdout.write(f"Template {template.digest[:12]}.")
        self._patiently(lambda: call_command("migrate_tenants", stdout=self.stdout))

    def _migrate_shared(self, verbosity: int) -> None:
        with giving_up_locks():
            call_command("migrate", interactive=False, verbosity=verbosity, stdout=self.stdout)

    def _patiently(self, migrate: Callable[[], object]) -> None:
        """Whoever waits for a table holds up everybody behind: so each try gives up soon, and there are several."""
        for pause in (*PAUSES, None):
            try:
                migrate()
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if pause is None:
                    raise CommandError(
                        "A table was in use by a long transaction at every try, so not everything is moved on. What was, stays; run "
                        "this again when the long transaction has ended (pg_stat_activity shows it)."
                    ) from error
                self.stdout.write(f"A table is in use; trying again in {pause:g} seconds.")
                time.sleep(pause)
