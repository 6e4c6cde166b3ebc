"""Seals everything again with the current key, so that an old one can be taken away."""

from typing import Any

from django.core.management.base import BaseCommand

from marketplace.installations.rotation import (
    Rotation,
    reseal_connections,
    reseal_consents,
    reseal_deliveries,
    reseal_second_factors,
)


class Command(BaseCommand):
    help = "Seal every secret in the database again with TIEOUT_KEK. Runs beside everything else; can be stopped and run again."

    def handle(self, *args: Any, **options: Any) -> None:
        parts = {
            "connections": reseal_connections(),
            "consents under way": reseal_consents(),
            "second factors": reseal_second_factors(),
            "deliveries": reseal_deliveries(),
        }
        counted = ", ".join(f"{part.resealed} {words}" for words, part in parts.items())
        self.stdout.write(f"Sealed again with the current key: {counted}.")
        unreadable = sum(parts.values(), Rotation()).unreadable
        if unreadable:
            self.stderr.write(f"{unreadable} cannot be opened with any key that is set; the log names them.")
