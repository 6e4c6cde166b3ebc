"""What the queue and the providers' limits are guarded by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.sdk import client
from marketplace.core import tasks, work
from marketplace.installations.budget import SharedBudget
from tenants.backend.base import DatabaseWrapper
from tests.faults.removal import drop, guard, replace

RING, QUEUE = "tests/sync/test_ring.py::test_", "tests/sync/test_work_queue.py::test_"
BUDGET = "tests/installations/test_budget.py::test_"


@guard(
    "a business that was served goes to the end of the ring",
    noticed_by=QUEUE + "businesses_take_turns_however_much_one_asks",
    in_ci=True,
)
def _() -> None:
    replace(work, "_TAKE", work._TAKE.replace("GREATEST(due_at, clock_timestamp())", "due_at"))


@guard("locked turns are passed over", noticed_by=RING + "locked_rows_are_passed_over[turn]")
def _() -> None:
    replace(work, "_TURN", work._TURN.replace("SKIP LOCKED", ""))


@guard("locked items are passed over", noticed_by=RING + "locked_rows_are_passed_over[item]")
def _() -> None:
    replace(work, "_TAKE", work._TAKE.replace("SKIP LOCKED", ""))
    replace(work, "_TAKE_ANY", work._TAKE_ANY.replace("SKIP LOCKED", ""))


@guard(
    "an item is locked while it is leased", noticed_by="tests/faults/test_queue.py::test_item_is_leased_to_one_of_many"
)
def _() -> None:
    for name in ("_TURN", "_TAKE", "_TAKE_ANY"):
        replace(work, name, getattr(work, name).replace("FOR UPDATE SKIP LOCKED", ""))


@guard("one row for a business's work, kind and key", noticed_by=QUEUE + "asking_twice_is_asking_once", in_ci=True)
def _() -> None:
    drop("ALTER TABLE core_workitem DROP CONSTRAINT work_is_unique", schema="public")


@guard("the tick wakes workers for what is due", noticed_by=RING + "tick_wakes_workers_for_what_is_due")
def _() -> None:
    replace(tasks, "due_count", lambda at_most: 0)


@guard(
    "the tick gives a turn to whoever has none",
    noticed_by=RING + "work_whose_announcement_was_lost_gets_its_turn_with_the_tick",
)
def _() -> None:
    replace(tasks, "repair_ring", lambda: 0)


@guard(
    "whoever finds the ring empty looks at what is due",
    noticed_by=RING + "work_whose_announcement_was_lost_is_found_by_who_has_nothing_to_do",
)
def _() -> None:
    replace(work, "_claim_any", lambda takes_long: None)


@guard("a slice ends when another business waits", noticed_by=RING + "slice_ends_early_when_another_business_waits")
def _() -> None:
    replace(work, "_IS_AWAITED", "SELECT false AND %s::uuid IS NULL")


@guard(
    "one worker stays free for short work",
    noticed_by=RING + "short_work_is_served_while_long_work_has_all_its_places",
)
def _() -> None:
    @contextmanager
    def always(*args: Any) -> Iterator[bool]:
        yield True

    replace(tasks, "place_for_long_work", always)


@guard("work that goes on gets out of the way", noticed_by=RING + "what_is_asked_for_during_long_work_goes_with_it")
def _() -> None:
    replace(work, "_is_long", lambda claim, again_in: False)


@guard(
    "work asked for while it runs is done again",
    noticed_by=QUEUE + "work_asked_for_while_it_ran_is_done_again_at_once",
)
def _() -> None:
    replace(work, "_LOCK", work._LOCK.replace("SELECT requests", "SELECT 0"))


@guard(
    "all workers spend from one allowance",
    noticed_by=BUDGET + "limits_per_connector_are_shared_by_organisations_and_others_are_not",
)
def _() -> None:
    replace(SharedBudget, "_key", lambda self, limit, name: f"budget:{id(self)}:{name}")


@guard(
    "a refusal binds every worker", noticed_by=BUDGET + "refusal_of_the_provider_binds_every_worker_of_its_connection"
)
def _() -> None:
    replace(SharedBudget, "refused", lambda self, retry_after: None)


@guard(
    "nobody is held for a limit before anything was done",
    noticed_by="tests/connectors/test_sdk_client.py::test_a_limit_before_anything_was_done_holds_nobody",
)
def _() -> None:
    replace(client, "LONGEST_FIRST_WAIT_SECONDS", 30.0)


@guard(
    "a server process forgets the schemas it touched",
    noticed_by="tests/tenants/test_context.py::"
    "test_server_process_that_touched_many_schemas_is_replaced_between_two_pieces_of_work",
)
def _() -> None:
    replace(DatabaseWrapper, "close_when_full", lambda self: None)
