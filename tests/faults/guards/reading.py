"""What reading is guarded by."""

from __future__ import annotations

from marketplace.sync import operations
from tenants.context import tenant
from tests.faults.removal import guard, replace


@guard(
    "a checkpoint holds its worker's lease",
    noticed_by="tests/faults/test_races.py::test_reader_in_the_middle_of_its_checkpoint_is_not_overtaken",
    in_ci=True,
)
def _() -> None:
    replace(operations, "holding_lease", tenant)


@guard(
    "what was asked for while an older listing was under way is read after it",
    noticed_by="tests/sync/test_asked_meanwhile.py::"
    "test_what_changed_before_it_was_asked_for_is_read_although_an_older_export_is_gone_on_with",
)
def _() -> None:
    """Nobody knows how often it had been asked for when the listing began."""
    replace(operations, "asked_so_far", lambda: 0)
