"""Every kind of entry taken back, in an open period and in a closed one; the ledger's own book stands as it did before."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connectors.providers.quickbooks.simulator import QuickBooksSimulator
from connectors.sdk.records import CreditNote, Customer, Invoice
from connectors.testing.faults import Fault
from marketplace.core.clock import now
from marketplace.installations.clients import client_for
from marketplace.posting import reversal_running
from marketplace.posting.batches import UnableToPost
from marketplace.posting.models import Posting, Reversal
from marketplace.posting.reversal_planning import make_plan, read_entries
from marketplace.posting.reversing import go_on
from marketplace.posting.trial_balances import Comparison, comparison_of
from tenants.context import tenant
from tests.cutover.world import shadow
from tests.faults.test_protocol import first
from tests.posting.reversing import (
    again,
    close_books,
    codes,
    confirm,
    fees,
    held,
    lines_of,
    one_of_each,
    paid,
    planned,
    post_documents,
    sale,
    staff_enter,
    taken,
    taken_back,
    trial_balance,
    work,
)
from tests.posting.world import Books, order

FIRST_OPEN = dt.date(2026, 11, 1)


@pytest.fixture(params=["xero", "quickbooks"])
def opened(request: pytest.FixtureRequest) -> Books:
    """Both ledgers, one after the other, with an invoice of staff's own in their books."""
    found: Books = request.getfixturevalue({"xero": "books", "quickbooks": "quickbooks"}[request.param])
    staff_enter(found, sale(found, Invoice, "STAFF-1", "70.00"))
    return found


def close(books: Books) -> None:
    close_books(books, FIRST_OPEN - dt.timedelta(days=1))


def carry_out(books: Books, most: int = 3) -> Any:
    reversal = planned(books)
    confirm(books, reversal)
    for _ in range(most):
        if work(books) is None:
            break
    return again(books, reversal)


def against(books: Books) -> list[tuple[str, str, str]]:
    """What the ledger's book says was entered on the first open day."""
    with books.simulator.lock:
        lines = books.simulator.ledger.after(0)
    return [
        (line["data_type"], line["amount"], line["by"])
        for line in lines
        if line["date"] == FIRST_OPEN.isoformat() and line["action"] == "create"
    ]


# --- an open period ---------------------------------------------------------------------------------------------------


def test_every_kind_of_entry_goes_and_the_books_stand_as_before(opened: Books) -> None:
    before = trial_balance(opened)
    postings = one_of_each(opened)
    assert trial_balance(opened) != before
    reversal = taken_back(opened)
    assert set(lines_of(opened, reversal).values()) == {"void done"}
    assert len(taken(opened)) == len(set(taken(opened))) == len(postings)
    assert trial_balance(opened) == before
    with tenant(opened.owner):
        assert set(Posting.objects.values_list("state", flat=True)) == {"reversed"}


def test_money_paid_back_goes_before_its_credit_note(books: Books) -> None:
    one_of_each(books)
    taken_back(books)
    kinds = [data_type for data_type, _ in taken(books)]
    assert kinds.index("credit_note") > max(at for at, kind in enumerate(kinds) if kind == "customer_payment")


def test_contact_in_a_batch_stays_and_the_plan_says_why(opened: Books) -> None:
    one_of_each(opened)
    with tenant(opened.owner):
        shadow(opened.flow, Customer(id="c1", name="Ada Hart"), state=Posting.State.POSTED)
    reversal = planned(opened, {"by": "dated", "first": "2026-01-01", "last": "2027-12-31"})
    told = lines_of(opened, reversal)
    assert [told[name] for name in told if name.startswith("customer ")] == ["keep planned contact"]
    confirm(opened, reversal)
    work(opened)
    assert again(opened, reversal).state == "done"


# --- a closed one -----------------------------------------------------------------------------------------------------


def test_every_kind_of_entry_in_a_closed_period_is_undone_by_entries_against_it(opened: Books) -> None:
    before = trial_balance(opened)
    one_of_each(opened)
    close(opened)
    reversal = carry_out(opened)
    assert set(lines_of(opened, reversal).values()) == {"entry done closed_period"}
    assert taken(opened) == []
    assert {by for _, _, by in against(opened)} == {"connector"}
    assert trial_balance(opened) == before


def test_part_paid_invoice_in_a_closed_period_balances_per_account(opened: Books) -> None:
    before = trial_balance(opened)
    bank = {"ledger_account": codes(opened).bank, "reference": "By bank"}
    post_documents(
        opened,
        sale(opened, Invoice, "S-1", "120.00"),
        (paid(opened, "50.00"), 0),
        (paid(opened, "20.00", **bank), 0),
    )
    close(opened)
    reversal = carry_out(opened)
    assert set(lines_of(opened, reversal).values()) == {"entry done closed_period"}
    assert trial_balance(opened) == before


def test_lone_payment_in_a_closed_period_leaves_its_invoice_open(opened: Books) -> None:
    """Staff entered the invoice, or took it over; only our payment goes."""
    lone_payment_is_undone(opened, Invoice)


def test_lone_repayment_in_a_closed_period_leaves_its_credit_note_open(books: Books) -> None:
    """QuickBooks has no such thing: it pays a credit note back on the credit note itself."""
    staff_enter(books, sale(books, Invoice, "STAFF-1", "70.00"))
    lone_payment_is_undone(books, CreditNote)


def lone_payment_is_undone(opened: Books, document: Any) -> None:
    before = trial_balance(opened)
    settles = "invoice" if document is Invoice else "credit_note"
    theirs, _ = post_documents(
        opened, sale(opened, document, "S-1", "120.00"), (paid(opened, "120.00", settles=settles), 0)
    )
    with tenant(opened.owner):
        Posting.objects.filter(pk=theirs.pk).update(state=Posting.State.LINKED)
    close(opened)
    reversal = carry_out(opened)
    assert sorted(lines_of(opened, reversal).values()) == ["entry done closed_period", "keep held staffs_own"]
    after = trial_balance(opened)["GBP"]
    owed = Decimal(120) if document is Invoice else Decimal(-120)
    moved = {account: after.get(account, 0) - before["GBP"].get(account, 0) for account in {**after, **before["GBP"]}}
    assert {account: amount for account, amount in moved.items() if amount} == {
        "accounts receivable": owed,
        codes(opened).sales: -owed,
    }


def test_payment_of_something_we_did_not_write_stays_and_the_plan_says_what_to_do(opened: Books) -> None:
    (payment,) = post_documents(opened, sale(opened, Invoice, "S-1", "120.00"), (paid(opened, "120.00"), 0))[1:]
    with tenant(opened.owner):
        Posting.objects.filter(pk=payment.pk).update(depends_on=None)
        Posting.objects.exclude(pk=payment.pk).update(state=Posting.State.WITHDRAWN)
    close(opened)
    reversal = planned(opened)
    assert set(lines_of(opened, reversal).values()) == {"keep planned closed_period"}
    with tenant(opened.owner):
        (line,) = reversal.lines.all()
    assert "did not write what it pays" in line.reason
    assert "Enter a journal" in line.next_step


def test_expense_in_a_closed_period_comes_back_to_the_same_account(opened: Books) -> None:
    before = trial_balance(opened)
    post_documents(opened, fees(opened))
    close(opened)
    carry_out(opened)
    assert against(opened) == [("expense", "-3.40", "connector")]
    assert trial_balance(opened) == before


def test_entry_of_several_parts_that_stopped_half_way_says_so_and_is_gone_on_with(books: Books) -> None:
    """The credit note and the repayment are made, the invoice is refused: planned again, only that is made."""
    theirs, _ = post_documents(books, sale(books, Invoice, "S-1", "120.00"), (paid(books, "120.00"), 0))
    with tenant(books.owner):
        Posting.objects.filter(pk=theirs.pk).update(state=Posting.State.LINKED)
    close(books)
    before = len(books.entries("invoice"))
    books.simulator.faults.add(Fault(match="PUT /api.xro/2.0/Invoices", kind="status", status=400))
    reversal = carry_out(books)
    assert lines_of(books, reversal)["customer_payment Paid"] == "entry held entry_refused"
    with tenant(books.owner):
        line = reversal.lines.get(posting__data_type="customer_payment")
        assert "Made already, and standing in Xero by itself: Credit note CN-" in line.reason
        rest = go_on(reversal=reversal, user=books.user)
    make_plan(tenant_id=books.owner.pk, reversal_id=rest.pk)
    confirm(books, rest)
    work(books)
    assert again(books, rest).state == "done"
    assert lines_of(books, rest)["customer_payment Paid"] == "entry done closed_period"
    assert len(books.entries("credit_note")) == 1
    assert len(books.entries("invoice")) == before + 1
    assert trial_balance(books) == {"GBP": {"200": Decimal(-120), "accounts receivable": Decimal(120)}}


def test_entry_against_that_staff_voided_before_it_was_read_back_is_made_again(books: Books) -> None:
    post_documents(books, sale(books, CreditNote, "C-1", "30.00"))
    close(books)
    reversal = planned(books)
    confirm(books, reversal)
    books.write()
    with tenant(books.owner):
        entry = reversal.lines.get().entry
    assert entry is not None
    wanted = ("invoice", entry.external_id)
    shown = read_entries(client_for(books.owner.pk, books.connection), "xero", [wanted])
    staff_enter(books, msgspec.structs.replace(shown[wanted].record, status="void", updated_at=None))
    work(books)
    assert set(lines_of(books, reversal).values()) == {"entry held entry_refused"}
    with tenant(books.owner):
        rest = go_on(reversal=again(books, reversal), user=books.user)
    make_plan(tenant_id=books.owner.pk, reversal_id=rest.pk)
    confirm(books, rest)
    work(books)
    assert set(lines_of(books, rest).values()) == {"entry done closed_period"}
    assert trial_balance(books) == {}


# --- refused in the middle --------------------------------------------------------------------------------------------


def test_refused_in_the_middle_the_rest_is_gone_on_with_and_nothing_goes_twice(ledger: Books) -> None:
    """The ledger refuses one invoice after its payment is gone."""
    reversal = planned(ledger)
    confirm(ledger, reversal)
    refused = refuse_one(ledger)
    work(ledger)
    first = again(ledger, reversal)
    told = lines_of(ledger, first)
    assert told.pop("invoice #1002").startswith("void held ")
    assert set(told.values()) == {"void done"}
    let_go(ledger, refused)
    with tenant(ledger.owner):
        rest = go_on(reversal=first, user=ledger.user)
    make_plan(tenant_id=ledger.owner.pk, reversal_id=rest.pk)
    assert len(lines_of(ledger, rest)) == 1
    confirm(ledger, rest)
    work(ledger)
    assert again(ledger, rest).state == "done"
    assert trial_balance(ledger) == {}
    assert len(taken(ledger)) == len(set(taken(ledger))) == 4
    assert set(ledger.states().values()) == {"held taken_back"}


def refuse_one(books: Books) -> str:
    """The ledger will not let go of the invoice of order 1002; answers its id."""
    invoice: str = held(books, "invoice", "#1002").id
    if isinstance(books.simulator, QuickBooksSimulator):
        books.simulator.books(books.connection.organisation_id).reconcile(invoice)
    else:  # once with the others, once by itself
        match = "POST /api.xro/2.0/Invoices"
        books.simulator.faults.add(Fault(match=match, kind="status", status=400, contains=invoice, times=2))
    return invoice


def let_go(books: Books, invoice: str) -> None:
    if isinstance(books.simulator, QuickBooksSimulator):
        books.simulator.books(books.connection.organisation_id).reconcile(invoice, is_done=False)


def test_reconciled_in_quickbooks_stays_and_a_person_is_told_what_to_do(quickbooks: Books) -> None:
    """QuickBooks does not tell what is reconciled; it refuses, and says so."""
    quickbooks.take(order(1001), order(1002))
    quickbooks.write()
    payment = held(quickbooks, "customer_payment", "#1002").id
    assert isinstance(quickbooks.simulator, QuickBooksSimulator)
    quickbooks.simulator.books(quickbooks.connection.organisation_id).reconcile(payment)
    reversal = taken_back(quickbooks)
    assert lines_of(quickbooks, reversal) == {
        "customer_payment #1001": "void done",
        "customer_payment #1002": "void held reconciled",
        "invoice #1001": "void done",
        "invoice #1002": "void held settled_by_others",
    }
    with tenant(quickbooks.owner):
        line = reversal.lines.get(posting__external_id=payment)
        assert line.reason == "It is reconciled with the bank in QuickBooks, which lets nobody change it."
        assert line.next_step == "Undo the reconciliation in QuickBooks Online, then plan the rest."
    assert quickbooks.states() == {"#1001": "held taken_back", "#1002": "held not_taken_back"}


# --- the ledger's own trial balance -----------------------------------------------------------------------------------


def compared(books: Books, reversal: Reversal) -> Comparison:
    found = comparison_of(again(books, reversal).trial_balance, "GBP")
    assert found is not None
    return found


def test_ledgers_own_report_is_read_before_and_after_and_moved_as_planned(opened: Books) -> None:
    one_of_each(opened)
    reversal = taken_back(opened)
    comparison = compared(opened, reversal)
    assert comparison.is_as_planned is True
    assert sum(row.difference for row in comparison.moved) == 0
    fees_row = next(row for row in comparison.moved if "fees" in row.name.lower())
    assert (fees_row.before, fees_row.after) == (Decimal("3.40"), Decimal(0))
    sales_row = next(row for row in comparison.moved if "Sales" in row.name)
    assert sales_row.after == Decimal(-70), "what staff entered stays"


def test_report_is_as_planned_where_a_closed_period_took_entries_against(opened: Books) -> None:
    one_of_each(opened)
    close(opened)
    comparison = compared(opened, carry_out(opened))
    assert comparison.is_as_planned is True
    assert all(row.after == 0 or "Sales" in row.name or "Receivable" in row.name for row in comparison.moved)


def test_sales_tax_of_a_batch_counts_in_the_report(ledger: Books) -> None:
    comparison = compared(ledger, taken_back(ledger))
    assert comparison.is_as_planned is True
    assert len(comparison.moved) == 3  # sales, tax, clearing: what customers owed was paid


def test_what_staff_enter_meanwhile_shows_as_not_planned(ledger: Books) -> None:
    reversal = planned(ledger)
    confirm(ledger, reversal)

    def enter() -> None:
        staff_enter(ledger, sale(ledger, Invoice, "STAFF-2", "9.00"))

    with first(reversal_running, "_settle", enter):
        work(ledger)
    assert compared(ledger, reversal).is_as_planned is False


def test_what_staff_enter_after_the_plan_and_before_its_start_does_not_disturb(ledger: Books) -> None:
    reversal = planned(ledger)
    staff_enter(ledger, sale(ledger, Invoice, "STAFF-2", "9.00"))
    confirm(ledger, reversal)
    work(ledger)
    assert compared(ledger, reversal).is_as_planned is True


def test_without_the_consent_the_reversal_goes_on_and_says_which_is_missing(books: Books) -> None:
    one_of_each(books)
    books.simulator.faults.add(
        Fault(match="GET /api.xro/2.0/Reports", kind="status", status=403, times=9)
    )  # as Xero answers a connection without that scope
    reversal = taken_back(books)
    assert reversal.state == "done"
    assert "See the trial balance report" in reversal.trial_balance["problem"]
    assert comparison_of(reversal.trial_balance, "GBP") is None


def test_report_that_is_late_is_waited_for_and_not_for_ever(books: Books) -> None:
    one_of_each(books)
    reversal = planned(books)
    confirm(books, reversal)
    books.simulator.faults.add(Fault(match="GET /api.xro/2.0/Reports", kind="status", status=503, times=99))
    with pytest.raises(UnableToPost):
        work(books)
    assert again(books, reversal).state == "running"
    with tenant(books.owner):
        reversal.lines.update(done_at=now() - dt.timedelta(hours=1))
    work(books)
    found = again(books, reversal)
    assert (found.state, bool(found.trial_balance["problem"])) == ("done", True)
