"""Runs Tieout on this machine until it is asked to stop."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from marketplace.core.runtime.postgres import UnableToStartPostgres
from marketplace.core.runtime.stack import AlreadyRunning, StopAsked, running_stack
from marketplace.core.runtime.supervisor import UnableToStart
from marketplace.core.runtime.valkey import UnableToStartValkey


class Command(BaseCommand):
    help = "Start the database, the broker, the simulators, web, worker and scheduler, and keep them running."

    def handle(self, *args: Any, **options: Any) -> None:
        should_stop = StopAsked()
        try:
            with running_stack(self.stdout.write) as supervisor:
                self.stdout.write(f"Tieout is at {settings.PUBLIC_URL}. Stop with Ctrl-C.")
                supervisor.watch(should_stop, report=self.stdout.write)
        except (AlreadyRunning, UnableToStart, UnableToStartPostgres, UnableToStartValkey) as error:
            raise CommandError(str(error)) from error
