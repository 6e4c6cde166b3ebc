"""Says that the database was restored from a backup, before anything works on it again."""

from typing import Any

from django.core.management.base import BaseCommand

from marketplace.core.restoring import begin_all_work_again, note_restoration


class Command(BaseCommand):
    help = (
        "Run once after the database was restored and migrated, before web and workers start: whatever is written for records from"
        " before now is first looked up in the ledger, and every stream is read again at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        note_restoration()
        self.stdout.write(
            f"Noted. {begin_all_work_again()} pieces of work are due now;"
            " what the ledgers hold already is found there and not written again."
        )
