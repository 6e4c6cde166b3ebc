"""Guards of the comparison with what staff entered."""

from __future__ import annotations

from tests.faults.removal import drop, guard

PAIRING = "tests/cutover/test_pairing.py::test_"


@guard("a pair refers to what is there", noticed_by=f"{PAIRING}pair_of_what_is_not_there_is_refused[entry]")
def _() -> None:
    drop("DROP TRIGGER cutover_pair_refers ON cutover_pair", schema="tenant")


@guard("what a pair refers to is not deleted", noticed_by=f"{PAIRING}what_a_pair_refers_to_stays[sync_record]")
def _() -> None:
    drop("DROP TRIGGER cutover_pair_has_entry ON sync_record", schema="tenant")
