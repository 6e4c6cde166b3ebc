"""What taking entries back is guarded by."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from connectors.providers.quickbooks import batches as quickbooks
from connectors.providers.xero import resources as xero
from connectors.sdk.client import Client
from connectors.sdk.streams import Standing
from marketplace.core import work
from marketplace.posting import planning, reversal_planning, reversal_running, reversing, trial_balances
from tests.faults.removal import guard, replace

PROTOCOL = "tests/faults/test_reversal_protocol.py::test_"
RUNNING = "tests/posting/test_reversal.py::test_"
KINDS = "tests/posting/test_reversal_kinds.py::test_"
LIMITS = "tests/posting/test_reversal_limits.py::test_"


@guard(
    "what was sent to take an entry back is read back before it counts",
    noticed_by=RUNNING + "request_that_never_arrived_does_not_count_as_taken_back",
    in_ci=True,
)
def _() -> None:
    replace(reversal_running, "was_taken_back", lambda stream, entry: True)


@guard(
    "an entry that says something else than when it was planned is left alone",
    noticed_by=LIMITS + "what_staff_change_after_the_plan_is_left_alone[xero]",
)
def _() -> None:
    replace(reversal_running, "is_changed", lambda line, entry: False)


@guard(
    "entries are taken back under the versions that were read",
    noticed_by=PROTOCOL + "what_staff_change_in_the_last_moment_is_not_taken_back[xero]",
)
def _() -> None:
    guarded = xero.WritableXeroStream.void

    def whatever_it_says(self: Any, client: Client, external_ids: Any, *, versions: Any = None) -> Any:
        return guarded(self, client, external_ids)

    replace(xero.WritableXeroStream, "void", whatever_it_says)


@guard(
    "what settles a document is taken back before it",
    noticed_by=RUNNING + "payments_go_before_the_invoices_they_settle_and_each_goes_once[xero]",
)
def _() -> None:
    replace(reversal_planning, "PHASES", tuple(reversed(reversal_planning.PHASES)))


@guard(
    "what somebody has paid meanwhile is not taken back",
    noticed_by=LIMITS + "payment_staff_enter_after_the_plan_keeps_the_invoice[quickbooks]",
)
def _() -> None:
    guarded = quickbooks.Written30.standing

    def unpaid(self: Any, found: Any) -> Standing:
        return Standing(is_void=guarded(self, found).is_void)

    replace(quickbooks.Written30, "standing", unpaid)


@guard(
    "taking back is part of the one work that writes to a ledger",
    noticed_by=PROTOCOL + "nothing_is_taken_back_while_another_worker_writes_to_the_ledger",
)
def _() -> None:
    def apart(*, tenant_id: uuid.UUID, kind: str, key: str, delay: dt.timedelta | None = None) -> None:
        own = "take_back" if kind == "post" else kind
        work.request_work(tenant_id=tenant_id, kind=own, key=key, delay=delay)

    work.handles("take_back")(
        lambda tenant_id, key: reversal_running.take_back(tenant_id=tenant_id, connection_id=uuid.UUID(key))
    )
    replace(reversing, "request_work", apart)


@guard(
    "a record that was taken back is not posted again by itself",
    noticed_by=LIMITS + "taken_back_record_is_not_posted_again_by_itself",
)
def _() -> None:
    replace(planning, "_as_taken_back", lambda *row: None)


@guard(
    "what was not sent yet is withdrawn with what is taken back",
    noticed_by=LIMITS + "unsent_payment_is_withdrawn_with_the_invoice",
)
def _() -> None:
    replace(reversing, "_withdraw_unsent", lambda reversal, record_ids: None)


@guard(
    "every part of an entry against an entry is read back before it counts",
    noticed_by=KINDS + "entry_against_that_staff_voided_before_it_was_read_back_is_made_again",
)
def _() -> None:
    replace(reversal_running, "is_in_books", lambda stream, part, found: True)


@guard(
    "what a reversal that stopped half way had made is not made again",
    noticed_by=KINDS + "entry_of_several_parts_that_stopped_half_way_says_so_and_is_gone_on_with",
)
def _() -> None:
    replace(reversing, "made_already", lambda original, data_type: None)


@guard(
    "only what was paid in one piece is paid back in one piece",
    noticed_by=KINDS + "part_paid_invoice_in_a_closed_period_balances_per_account[quickbooks]",
)
def _() -> None:
    replace(reversing, "is_paid_by", lambda document, payments: bool(payments))


@guard(
    "the ledger's own trial balance is held against the plan",
    noticed_by=KINDS + "what_staff_enter_meanwhile_shows_as_not_planned[xero]",
)
def _() -> None:
    replace(trial_balances, "_is_as_planned", lambda expected, moved: True)


@guard(
    "the trial balance is read again right before the first entry goes",
    noticed_by=KINDS + "what_staff_enter_after_the_plan_and_before_its_start_does_not_disturb[xero]",
)
def _() -> None:
    replace(reversal_running, "_read_balance_before", lambda run: None)


@guard(
    "a large correction takes two people",
    noticed_by="tests/posting/test_reversal_pages.py::test_large_one_is_confirmed_by_somebody_else_than_who_asked",
)
def _() -> None:
    replace(reversing, "_require_second_person", lambda reversal, entries, user: None)
