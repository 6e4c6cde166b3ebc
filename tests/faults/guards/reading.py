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
