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


RACES = "tests/faults/test_comparison_races.py::test_"
WITHOUT_LOCK = """
    DO $$ BEGIN EXECUTE replace(pg_get_functiondef('{name}'::regproc), 'PERFORM pg_advisory_xact_lock', '-- '); END $$
"""


@guard(
    "who deletes what is being compared waits for the comparison",
    noticed_by=f"{RACES}entry_of_a_comparison_that_is_about_to_commit_is_not_deleted",
)
def _() -> None:
    drop(WITHOUT_LOCK.format(name="cutover_pair_is_referred"), schema="tenant")


@guard(
    "a comparison waits for who deletes what it compares",
    noticed_by=f"{RACES}comparison_does_not_name_an_entry_whose_deletion_is_about_to_commit",
)
def _() -> None:
    drop(WITHOUT_LOCK.format(name="cutover_pair_refers"), schema="tenant")
