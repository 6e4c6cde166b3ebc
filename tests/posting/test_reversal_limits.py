"""What cannot be taken back, what is undone by an entry against it, and what becomes of the records afterwards."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from connectors.sdk.records import Customer, LedgerAccount
from connectors.testing.faults import Fault
from marketplace.core.clock import now
from marketplace.cutover.operations import move_flow
from marketplace.mapping.models import Stage
from marketplace.posting.decisions import UnableToDecide, post_again
from marketplace.posting.models import Posting
from marketplace.posting.reversing import UnableToReverse
from tenants.context import tenant
from tests.cutover.world import TODAY, shadow
from tests.posting.reversing import (
    again,
    close_books,
    confirm,
    held,
    lines_of,
    planned,
    staff_enter,
    states_of,
    taken,
    taken_back,
    trial_balance,
    work,
)
from tests.posting.world import PLACED, Books, order

# --- what stands in the way -------------------------------------------------------------------------------------------


def test_what_staff_changed_since_is_not_taken_back(ledger: Books) -> None:
    found = held(ledger, "invoice", "#1001")
    staff_enter(ledger, msgspec.structs.replace(found, date=dt.date(2026, 10, 11), updated_at=None))
    before = trial_balance(ledger)
    reversal = planned(ledger)
    lines = lines_of(ledger, reversal)
    assert lines["invoice #1001"] == "keep planned changed_in_ledger"
    assert lines["customer_payment #1001"] == "keep planned stays_together"
    confirm(ledger, reversal)
    work(ledger)
    assert ledger.states() == {"#1001": "posted", "#1002": "held taken_back"}
    assert trial_balance(ledger) != before


def test_what_staff_change_after_the_plan_is_left_alone(ledger: Books) -> None:
    reversal = planned(ledger)
    confirm(ledger, reversal)
    found = held(ledger, "customer_payment", "#1001")
    invoice = held(ledger, "invoice", "#1002")
    staff_enter(ledger, msgspec.structs.replace(found, status="void", updated_at=None))
    staff_enter(ledger, msgspec.structs.replace(held(ledger, "invoice", "#1001"), number="77", updated_at=None))
    work(ledger)
    assert held(ledger, "invoice", "#1001").status == "open"
    assert lines_of(ledger, reversal)["invoice #1001"] == "void held changed_in_ledger"
    assert ledger.states()["#1001"] == "held taken_back_in_part"
    assert invoice.id in {id for _, id in taken(ledger)}


def test_what_staff_paid_since_stays_paid(books: Books) -> None:
    books.take(order(1001, status="open"), order(1002, "60.00"))
    books.write()
    found = held(books, "invoice", "#1002")
    with tenant(books.owner):
        Posting.objects.filter(data_type="customer_payment").update(state=Posting.State.WITHDRAWN)
    reversal = planned(books)
    assert lines_of(books, reversal)["invoice #1002"] == "keep planned settled_by_others"
    assert found.status == "paid"


def test_payment_staff_enter_after_the_plan_keeps_the_invoice(ledger: Books) -> None:
    """QuickBooks would void the invoice all the same, and leave the customer's money without one."""
    reversal = planned(ledger)
    confirm(ledger, reversal)
    invoice, payment = held(ledger, "invoice", "#1001"), held(ledger, "customer_payment", "#1001")
    staff_enter(ledger, msgspec.structs.replace(payment, status="void", updated_at=None))
    theirs = msgspec.structs.replace(
        payment, id="", amount=Decimal(50), reference="By hand", document_id=invoice.id, updated_at=None
    )
    staff_enter(ledger, theirs)
    work(ledger)
    assert lines_of(ledger, reversal)["invoice #1001"] == "void held settled_by_others"
    assert ("invoice", invoice.id) not in taken(ledger)
    assert ledger.outcome("#1001").reason_code == "taken_back_in_part"


def test_reconciled_payment_stays_and_its_invoice_with_it(books: Books) -> None:
    books.take(order(1001), order(1002))
    books.write()
    with tenant(books.owner):
        payment = Posting.objects.get(data_type="customer_payment", record__number="#1001")
    with books.simulator.lock:
        store = books.simulator.store[f"Payments:{books.connection.organisation_id}"]
        store.put(payment.external_id, {**(store.get(payment.external_id) or {}), "IsReconciled": True})
    reversal = taken_back(books)
    assert lines_of(books, reversal) == {
        "customer_payment #1001": "keep held reconciled",
        "customer_payment #1002": "void done",
        "invoice #1001": "keep held stays_together",
        "invoice #1002": "void done",
    }
    assert books.states() == {"#1001": "posted", "#1002": "held taken_back"}


def test_what_staff_voided_by_hand_needs_no_request(books: Books) -> None:
    books.take(order(1001))
    books.write()
    payment, invoice = held(books, "customer_payment", "#1001"), held(books, "invoice", "#1001")
    staff_enter(books, msgspec.structs.replace(payment, status="void", updated_at=None))
    staff_enter(books, msgspec.structs.replace(invoice, status="void", updated_at=None))
    reversal = planned(books)
    assert set(lines_of(books, reversal).values()) == {"nothing planned"}
    confirm(books, reversal)
    work(books)
    assert books.states() == {"#1001": "held taken_back"}
    assert len(taken(books)) == 2


def test_staffs_own_entry_is_never_taken_back(books: Books) -> None:
    books.take(order(1001), order(1002))
    books.write()
    with tenant(books.owner):
        Posting.objects.filter(record__number="#1001").update(state=Posting.State.LINKED)
        Posting.objects.filter(data_type="customer_payment", record__number="#1001").update(state="posted")
    reversal = taken_back(books)
    lines = lines_of(books, reversal)
    assert (lines["invoice #1001"], lines["customer_payment #1001"]) == ("keep held staffs_own", "void done")
    assert books.states() == {"#1001": "held taken_back_in_part", "#1002": "held taken_back"}


# --- a closed period --------------------------------------------------------------------------------------------------


def test_closed_period_gets_entries_against_in_the_first_open_one(ledger: Books) -> None:
    close_books(ledger, dt.date(2026, 10, 31))
    reversal = planned(ledger)
    assert set(lines_of(ledger, reversal).values()) == {"entry planned closed_period"}
    confirm(ledger, reversal)
    work(ledger)
    assert again(ledger, reversal).state == "done"
    assert trial_balance(ledger) == {}
    assert taken(ledger) == []
    with ledger.simulator.lock:
        against = [line for line in ledger.simulator.ledger.after(0) if line["date"] == "2026-11-01"]
    assert {line["data_type"] for line in against} >= {"credit_note"}
    assert ledger.states() == {"#1001": "held taken_back", "#1002": "held taken_back"}


def test_refused_entry_against_leaves_the_original_for_a_person(books: Books) -> None:
    books.take(order(1001))
    books.write()
    close_books(books, dt.date(2026, 10, 31))
    reversal = planned(books)
    confirm(books, reversal)
    staff_enter(books, LedgerAccount(id="", code="200", name="Sales", kind="income", is_archived=True))
    before = trial_balance(books)
    work(books)
    work(books)
    assert set(lines_of(books, reversal).values()) == {"entry held entry_refused"}
    assert again(books, reversal).state == "done"
    assert books.states() == {"#1001": "held not_taken_back"}
    assert trial_balance(books) == before


def test_answer_of_an_entry_against_that_was_lost_makes_one_entry(books: Books) -> None:
    books.take(order(1001))
    books.write()
    close_books(books, dt.date(2026, 10, 31))
    reversal = planned(books)
    confirm(books, reversal)
    books.simulator.faults.add(Fault(match="* /api.xro/2.0/CreditNotes", kind="drop_after"))
    for _ in range(4):
        work(books)
    assert again(books, reversal).state == "done"
    assert len(books.entries("credit_note")) == 1
    assert trial_balance(books) == {}


# --- afterwards -------------------------------------------------------------------------------------------------------


def test_taken_back_record_is_not_posted_again_by_itself(books: Books) -> None:
    books.take(order(1001))
    books.write()
    taken_back(books)
    books.take(order(1001, "150.00", updated_at=PLACED + dt.timedelta(hours=1)))
    work(books)
    assert books.states() == {"#1001": "held taken_back"}
    assert len(books.entries()) == 1


def test_person_may_have_it_posted_again_under_a_new_key_and_number(ledger: Books) -> None:
    taken_back(ledger)
    outcome = ledger.outcome("#1001")
    with tenant(ledger.owner):
        post_again(outcome_ids=[outcome.pk], user=ledger.user)
    ledger.plan()
    ledger.write()
    assert ledger.states()["#1001"] == "posted"
    first, second = [posting for posting in ledger.postings() if posting.record_id == outcome.record_id]
    assert (first.state, second.state, second.version) == ("reversed", "posted", 2)
    assert first.key != second.key
    assert second.number == f"{first.number}-2"
    assert len([line for line in ledger.entries() if line["number"] == second.number]) == 1


def test_what_was_posted_again_can_be_taken_back_again(books: Books) -> None:
    books.take(order(1001))
    books.write()
    for _ in range(2):
        taken_back(books)
        with tenant(books.owner):
            post_again(outcome_ids=[books.outcome("#1001").pk], user=books.user)
        books.plan()
        books.write()
    taken_back(books)
    assert (books.states(), trial_balance(books)) == ({"#1001": "held taken_back"}, {})


def test_nothing_is_posted_onto_what_is_being_taken_back(books: Books) -> None:
    """A payment that arrives meanwhile would be paid onto an invoice that goes."""
    paid_later = order(1001, status="partly_paid")
    books.take(paid_later)
    books.write()
    reversal = planned(books)
    confirm(books, reversal)
    books.take(order(1001, updated_at=PLACED + dt.timedelta(hours=1)))
    work(books)
    work(books)
    assert books.states() == {"#1001": "held taken_back"}
    assert books.entries("customer_payment") == []
    assert trial_balance(books) == {}


def test_unsent_payment_is_withdrawn_with_the_invoice(books: Books) -> None:
    books.take(order(1001))
    with tenant(books.owner):
        Posting.objects.filter(data_type="customer_payment").update(next_attempt_at=now() + dt.timedelta(days=1))
    books.write()
    taken_back(books)
    assert states_of(books) == [("invoice", "reversed"), ("customer_payment", "withdrawn")]


def test_going_back_and_live_again_leaves_it_taken_back(books: Books) -> None:
    books.take(order(1001), order(1002))
    books.write()
    taken_back(books, {"posting": books.postings()[0].pk})
    with tenant(books.owner):
        move_flow(
            flow=books.flow, to_stage=Stage.PARALLEL, user=books.user, today=TODAY, parallel_from=dt.date(2026, 10, 1)
        )
    books.plan()
    assert books.states() == {"#1001": "held taken_back", "#1002": "posted"}


def test_decisions_wait_for_the_reversal_to_end(books: Books) -> None:
    books.take(order(1001))
    books.write()
    confirm(books, planned(books))
    with tenant(books.owner), pytest.raises(UnableToDecide):
        post_again(outcome_ids=[books.outcome("#1001").pk], user=books.user)


def test_contacts_stay_and_the_ledger_is_not_even_asked(books: Books) -> None:
    with tenant(books.owner):
        shadow(books.flow, Customer(id="c1", name="Ada Hart"), state=Posting.State.POSTED)
    calls = books.simulator.counts.total()
    reversal = planned(books, {"by": "dated", "first": "2026-01-01", "last": "2027-12-31"})
    assert set(lines_of(books, reversal).values()) == {"keep planned contact"}
    assert books.simulator.counts.total() == calls
    with pytest.raises(UnableToReverse, match="Nothing in this plan"):
        confirm(books, reversal)
