"""Takes the named guard away in every process that a campaign starts."""

from django.apps import AppConfig

from tests.faults.removal import remove_named_guard


class RemovalConfig(AppConfig):
    """Comes last among the applications, when everything that can be replaced is loaded."""

    name = "tests.faults"
    label = "faults"

    def ready(self) -> None:
        remove_named_guard()
