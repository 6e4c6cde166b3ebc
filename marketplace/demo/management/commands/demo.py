"""`manage.py demo`: the main job with its progress, then the site."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.core.runtime.postgres import UnableToStartPostgres
from marketplace.core.runtime.stack import AlreadyRunning, StopAsked, running_stack
from marketplace.core.runtime.supervisor import UnableToStart
from marketplace.core.runtime.valkey import UnableToStartValkey
from marketplace.cutover.models import Verdict
from marketplace.demo.businesses import BUSINESSES, PASSWORD, last_month
from marketplace.demo.checking import Tally, added_up
from marketplace.demo.job import DemoFailed, run_business
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Take the demo businesses from the catalogue to go-live, then serve the site."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop after the main job; fail unless every check held")

    def handle(self, *args: Any, **options: Any) -> None:
        should_stop = StopAsked()
        try:
            with running_stack(self.stdout.write) as supervisor:
                holds = self._main_job(supervisor.check)
                if options["once"]:
                    if not holds:
                        raise CommandError("A check of the demonstration did not hold; see above.")
                    return
                self._invite()
                supervisor.watch(should_stop, report=self.stdout.write)
        except (AlreadyRunning, UnableToStart, UnableToStartPostgres, UnableToStartValkey, DemoFailed) as error:
            raise CommandError(str(error)) from error

    def _main_job(self, check: Any) -> bool:
        names = [business.legal_name for business in BUSINESSES]
        if Tenant.objects.filter(legal_name__in=names).exists():
            self.stdout.write("The demo businesses are here already; `make clean` starts from nothing.")
            return True
        started, today = time.monotonic(), dt.date.today()
        first, last = last_month(today)
        self.stdout.write(f"The month compared is {first:%B %Y}.\n")
        tallies = []
        for business in BUSINESSES:
            self.stdout.write(f"{business.legal_name}: {business.source.connector} to {business.ledger.connector}")
            tallies.append(run_business(business, self._reporter(started, check), today, first, last))
        self._print(tallies)
        seconds = round(time.monotonic() - started, 1)
        self.stdout.write(f"tieout-demo: {json.dumps({**added_up(tallies), 'seconds': seconds})}")
        return all(tally.holds for tally in tallies)

    def _reporter(self, started: float, check: Any) -> Any:
        def report(line: str) -> None:
            check()
            self.stdout.write(f"  {time.monotonic() - started:6.1f} s  {line}")
            self.stdout.flush()

        return report

    def _print(self, tallies: list[Tally]) -> None:
        columns = (
            "source_records",
            "posted",
            "held",
            "excluded",
            "failed",
            "lost",
            "duplicates",
            "planted",
            "planted_found",
        )
        headings = ("records in", "posted", "held", "excluded", "failed", "lost", "duplicates", "planted", "found")
        self.stdout.write("\n" + f"{'':<16}" + "".join(f"{heading:>12}" for heading in headings))
        for tally in tallies:
            values = "".join(f"{getattr(tally, column):>12,}" for column in columns)
            self.stdout.write(f"{tally.business:<16}{values}")
        self.stdout.write("\nVerdicts of the comparison, with the money concerned:")
        totals = added_up(tallies)["verdicts"]
        for verdict in Verdict:
            if verdict.value in totals:
                entry = totals[verdict.value]
                money = ", ".join(f"{currency} {amount}" for currency, amount in sorted(entry["money"].items()))
                self.stdout.write(f"  {verdict.label:<26}{entry['count']:>7,}   {money}")
        for problem in [problem for tally in tallies for problem in tally.problems][:20]:
            self.stdout.write(f"  ! {problem}")
        self.stdout.write("")

    def _invite(self) -> None:
        self.stdout.write(f"\nTieout is at {settings.PUBLIC_URL} — sign in with the password {PASSWORD} as")
        for business in BUSINESSES:
            for (name, email), role in ((business.owner, "owner"), (business.bookkeeper, "bookkeeper")):
                self.stdout.write(f"  {email:<26} {name}, {role} of {business.legal_name}")
        self.stdout.write("Stop with Ctrl-C; everything is kept for the next start.")
