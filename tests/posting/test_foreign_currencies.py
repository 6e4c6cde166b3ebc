"""Sales in a foreign currency: what is paid at another rate than it was sold at, in the ledger's own books, and taken back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.test import Client

from connectors.sdk.records import CreditNote, Invoice, Party
from marketplace.installations.clients import client_for
from marketplace.posting import reversal_running
from marketplace.posting.keys import marked
from marketplace.posting.models import Posting, Reversal
from marketplace.posting.trial_balances import Comparison, comparison_of
from tenants.context import tenant
from tests.cutover.world import shadow
from tests.faults.test_protocol import first
from tests.installations.walking import text_of
from tests.posting.reversing import (
    DAY,
    again,
    close_books,
    confirm,
    fees,
    lines_of,
    paid,
    payout,
    planned,
    post_documents,
    sale,
    staff_enter,
    trial_balance,
    work,
)
from tests.posting.world import Books

ABROAD: dict[str, Any] = {"currency": "EUR", "customer": Party(name="Hart SARL")}
CLOSED = dt.date(2026, 10, 31)
#: Rates as each ledger quotes them: Xero says how many euros a pound is, QuickBooks how many pounds a euro is.
SOLD_AT, PAID_AT = Decimal("1.25"), Decimal("1.60")
GAINS = {"xero": "Realised Currency Gains (499)", "quickbooks": "Exchange gain or loss"}


@pytest.fixture(params=["xero", "quickbooks"])
def opened(request: pytest.FixtureRequest) -> Books:
    """Both ledgers, one after the other, with invoices of staff's own in their books, one of them in euros."""
    found: Books = request.getfixturevalue({"xero": "books", "quickbooks": "quickbooks"}[request.param])
    quote(found, SOLD_AT)
    staff_enter(found, sale(found, Invoice, "STAFF-1", "70.00"), sale(found, Invoice, "STAFF-2", "50.00", **ABROAD))
    return found


def quote(books: Books, rate: Decimal, day: dt.date | None = None) -> None:
    """What a euro is at, from now on or on one day."""
    at = {"EUR": str(rate)}
    changed: dict[str, Any] = {"rates": at} if day is None else {"rates_on": {day.isoformat(): at}}
    books.simulator.open_organisation({"id": books.connection.organisation_id, **changed})


def in_pounds(books: Books, euros: str, rate: Decimal) -> Decimal:
    converted = Decimal(euros) / rate if books.connection.connector == "xero" else Decimal(euros) * rate
    return converted.quantize(Decimal("0.01"))


def report(books: Books) -> dict[str, Decimal]:
    """The ledger's own trial balance in its base currency, without accounts that stand at nought."""
    found = client_for(books.owner.pk, books.connection).trial_balance(dt.date(2026, 12, 31))
    assert found is not None
    assert sum((one.amount for one in found.balances), Decimal(0)) == 0
    return {one.name: one.amount for one in found.balances if one.amount}


def moved(books: Books, before: dict[str, Decimal]) -> dict[str, Decimal]:
    after = report(books)
    found = {name: after.get(name, Decimal(0)) - before.get(name, Decimal(0)) for name in {**before, **after}}
    return {name: amount for name, amount in found.items() if amount}


def sell_abroad(books: Books, *amounts: str, paid_at: Decimal | None = None) -> None:
    """A sale in euros, paid in one amount or several, at a rate of their own."""
    total = str(sum(Decimal(amount) for amount in amounts))
    post_documents(books, sale(books, Invoice, "EU-1", total, **ABROAD), mark="eu")
    if paid_at is not None:
        quote(books, paid_at)
    with tenant(books.owner):
        invoice = Posting.objects.get(number="EU-1")
    for number, amount in enumerate(amounts):
        payment = settling(books, paid(books, amount, f"EU-1 paid {number}", **ABROAD), invoice, f"eu-paid-{number}")
        books.write()
        with tenant(books.owner):
            assert Posting.objects.get(pk=payment.pk).state == "posted"


def settling(books: Books, document: Any, settled: Posting, of: str) -> Posting:
    with tenant(books.owner):
        made = shadow(books.flow, document, of=of, state=Posting.State.PLANNED)
        Posting.objects.filter(pk=made.pk).update(
            reference=marked(made.reference, made.key), depends_on=settled, record=settled.record
        )
    return made


def carry_out(books: Books) -> Reversal:
    reversal = planned(books)
    confirm(books, reversal)
    for _ in range(4):
        work(books)
    return again(books, reversal)


def compared(books: Books, reversal: Reversal) -> Comparison:
    found = comparison_of(reversal.trial_balance, "GBP")
    assert found is not None
    return found


# --- posting ----------------------------------------------------------------------------------------------------------


def test_sale_stands_in_the_books_at_the_rate_of_its_day(opened: Books) -> None:
    quote(opened, Decimal("1.50"))
    quote(opened, Decimal("1.20"), DAY)
    before = report(opened)
    post_documents(opened, sale(opened, Invoice, "EU-9", "100.00", **ABROAD))
    (amount,) = (amount for amount in moved(opened, before).values() if amount > 0)
    assert amount == in_pounds(opened, "100.00", Decimal("1.20"))


@pytest.mark.parametrize("amounts", [("100.00",), ("33.33", "33.33", "33.34"), ("0.01", "99.99")])
def test_sale_that_is_paid_at_another_rate_is_settled_and_the_difference_is_a_gain_or_loss(
    opened: Books, amounts: tuple[str, ...]
) -> None:
    """Nothing is left of what the customer owed, whatever rounding makes of each payment."""
    before = report(opened)
    sell_abroad(opened, *amounts, paid_at=PAID_AT)
    changed = moved(opened, before)
    assert not [name for name in changed if "Receivable" in name]
    sold = in_pounds(opened, "100.00", SOLD_AT)
    received = sum((in_pounds(opened, amount, PAID_AT) for amount in amounts), Decimal(0))
    assert changed[GAINS[opened.connection.connector]] == sold - received
    assert sorted(changed.values()) == sorted([-sold, received, sold - received])


@pytest.mark.parametrize("arrived", ["85.04", "84.97", "0.01"])
def test_clearing_account_of_a_provider_that_converts_comes_to_nought(opened: Books, arrived: str) -> None:
    """Charged in euros, settled and paid out in pounds at the provider's rate, whatever the ledger's own."""
    before = report(opened)
    converted = Decimal(arrived)
    post_documents(
        opened,
        sale(opened, Invoice, "EU-1", "100.00", **ABROAD),
        (paid(opened, "100.00", base_amount=converted, **ABROAD), 0),
        payout(opened, arrived),
        mark="converted",
    )
    changed = moved(opened, before)
    assert not [name for name in changed if "learing" in name or "Receivable" in name]
    assert changed[GAINS[opened.connection.connector]] == in_pounds(opened, "100.00", SOLD_AT) - converted


def test_clearing_account_in_the_currency_of_the_shop_comes_to_nought(books: Books) -> None:
    """Sold, paid back in part, and paid out at three rates: in euros nothing is left."""
    euro_clearing, euro_bank = "096", "095"
    sell = sale(books, Invoice, "EU-1", "100.00", **ABROAD)
    post_documents(
        books,
        sell,
        (paid(books, "100.00", ledger_account=euro_clearing, **ABROAD), 0),
        sale(books, CreditNote, "EU-R1", "30.00", **ABROAD),
        (paid(books, "30.00", settles="credit_note", ledger_account=euro_clearing, **ABROAD), 2),
        mark="sold",
    )
    quote(books, PAID_AT)
    post_documents(
        books,
        in_euros(payout(books, "66.60"), from_ledger_account=euro_clearing, to_ledger_account=euro_bank),
        in_euros(fees(books), paid_from_ledger_account=euro_clearing),
        mark="paid",
    )
    assert trial_balance(books)["EUR"] == {
        euro_bank: Decimal("66.60"),
        "200": Decimal("-70.00"),
        "405": Decimal("3.40"),
    }


def in_euros(document: Any, **accounts: str) -> Any:
    return msgspec.structs.replace(document, currency="EUR", **accounts)


# --- taken back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_closed", [False, True])
def test_books_stand_as_before_although_the_exchange_rate_changed_since(opened: Books, is_closed: bool) -> None:
    before = report(opened)
    sell_abroad(opened, "100.00")
    assert report(opened) != before
    quote(opened, PAID_AT)
    if is_closed:
        close_books(opened, CLOSED)
    reversal = carry_out(opened)
    assert {state.split()[1] for state in lines_of(opened, reversal).values()} == {"done"}
    assert report(opened) == before
    assert (compared(opened, reversal).is_as_planned, compared(opened, reversal).is_converted) == (True, True)


@pytest.mark.parametrize("amounts", [("100.00",), ("33.33", "66.67")])
def test_gain_or_loss_goes_with_the_payment_that_made_it(opened: Books, amounts: tuple[str, ...]) -> None:
    before = report(opened)
    sell_abroad(opened, *amounts, paid_at=PAID_AT)
    quote(opened, Decimal("1.10"))
    reversal = carry_out(opened)
    assert report(opened) == before
    comparison = compared(opened, reversal)
    assert comparison.is_as_planned is True
    assert GAINS[opened.connection.connector] in [row.name for row in comparison.moved]


def test_page_says_that_the_report_agrees_and_who_converts(books: Books, alice_client: Client) -> None:
    sell_abroad(books, "100.00", paid_at=PAID_AT)
    reversal = carry_out(books)
    page = text_of(alice_client.get(f"/o/kestrel/reversals/{reversal.pk}/"))
    assert "The report agrees" in page
    assert "exchange gains and losses with it. Xero converts each entry in a foreign currency itself" in page
    assert GAINS["xero"] in page


def test_gain_or_loss_in_a_closed_period_is_made_undone_by_entries_against_it(books: Books) -> None:
    """Each entry against another goes out at the rate of that one."""
    before = report(books)
    sell_abroad(books, "100.00", paid_at=PAID_AT)
    quote(books, Decimal("1.10"))
    close_books(books, CLOSED)
    reversal = carry_out(books)
    assert set(lines_of(books, reversal).values()) == {"entry done closed_period"}
    assert report(books) == before
    assert compared(books, reversal).is_as_planned is True


def test_closed_payment_at_another_rate_stays_in_quickbooks_and_the_plan_says_why(quickbooks: Books) -> None:
    quote(quickbooks, SOLD_AT)
    sell_abroad(quickbooks, "100.00", paid_at=PAID_AT)
    close_books(quickbooks, CLOSED)
    told = lines_of(quickbooks, planned(quickbooks))
    assert sorted(told.values()) == ["keep planned exchange_difference", "keep planned stays_together"]


def test_what_staff_enter_abroad_meanwhile_shows_as_not_planned(opened: Books) -> None:
    """A cent of rounding is allowed for; what somebody sold is not."""
    sell_abroad(opened, "100.00", paid_at=PAID_AT)
    reversal = planned(opened)
    confirm(opened, reversal)

    def enter() -> None:
        staff_enter(opened, sale(opened, Invoice, "STAFF-3", "0.50", **ABROAD))

    with first(reversal_running, "_settle", enter):
        work(opened)
    assert compared(opened, again(opened, reversal)).is_as_planned is False
