"""Taking back what was posted, driven as a person and a worker do; judged by the ledger's own books."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.registry import connector
from connectors.sdk.records import (
    BankTransfer,
    Company,
    CreditNote,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    Party,
    Record,
)
from marketplace.installations.clients import client_for
from marketplace.posting.keys import marked
from marketplace.posting.models import Posting, Reversal, ReversalLine
from marketplace.posting.reversal_planning import make_plan
from marketplace.posting.reversing import ask_for_reversal, confirm_reversal
from marketplace.posting.tasks import post
from tenants.context import tenant
from tests.cutover.world import shadow
from tests.posting.world import Books

DAY = dt.date(2026, 10, 10)
ALL = {"by": "dated", "first": "2026-01-01", "last": "2026-12-31"}


def trial_balance(books: Books) -> dict[str, dict[str, Decimal]]:
    """What stands on each account, by the ledger's append-only book."""
    with books.simulator.lock:
        return books.simulator.ledger.trial_balance(books.connection.organisation_id)


def ask(books: Books, selection: dict[str, Any] | None = None) -> Reversal:
    """Asked for, not planned yet."""
    with tenant(books.owner):
        return ask_for_reversal(
            flow=books.flow, selection=selection or ALL, covers="everything", reason="Wrong account", user=books.user
        )


def planned(books: Books, selection: dict[str, Any] | None = None) -> Reversal:
    reversal = ask(books, selection)
    make_plan(tenant_id=books.owner.pk, reversal_id=reversal.pk)
    return again(books, reversal)


def again(books: Books, reversal: Reversal) -> Reversal:
    with tenant(books.owner):
        return Reversal.objects.get(pk=reversal.pk)


def confirm(books: Books, reversal: Reversal) -> None:
    with tenant(books.owner):
        confirm_reversal(reversal=reversal, user=books.user)


def work(books: Books) -> dt.timedelta | None:
    """The ledger's worker does its round."""
    return post(books.owner.pk, str(books.connection.pk))


def taken_back(books: Books, selection: dict[str, Any] | None = None) -> Reversal:
    """Planned, confirmed and carried out."""
    reversal = planned(books, selection)
    confirm(books, reversal)
    work(books)
    return again(books, reversal)


def lines_of(books: Books, reversal: Reversal) -> dict[str, str]:
    """Each entry's number or reference: what is, or was, done with it."""
    with tenant(books.owner):
        lines = ReversalLine.objects.filter(reversal=reversal).select_related("posting").order_by("phase", "id")
        return {
            f"{line.posting.data_type} {line.posting.document.get('reference', '')}": f"{line.action} {line.state} {line.code}".strip()
            for line in lines
        }


def states_of(books: Books) -> list[tuple[str, str]]:
    with tenant(books.owner):
        return list(Posting.objects.order_by("id").values_list("data_type", "state"))


def held(books: Books, data_type: str, number: str) -> Any:
    """An entry as the ledger has it, read with the connector."""
    with tenant(books.owner):
        posting = Posting.objects.get(data_type=data_type, record__number=number, reverses=None)
    client = client_for(books.owner.pk, books.connection)
    (found,) = connector(books.connection.connector).stream(data_type).fetch(client, [posting.external_id]).records
    return found.record


def staff_enter(books: Books, *records: Any) -> None:
    books.simulator.plant(books.connection.organisation_id, list(records), by="staff")


def close_books(books: Books, until: dt.date) -> None:
    """Staff close the period."""
    staff_enter(
        books,
        Company(
            id=books.connection.organisation_id,
            name="Kestrel & Co Ltd",
            base_currency="GBP",
            time_zone="Europe/London",
            books_closed_until=until,
        ),
    )


def taken(books: Books) -> list[tuple[str, str]]:
    """What the ledger says was taken back, in its order."""
    with books.simulator.lock:
        lines = books.simulator.ledger.after(0)
    return [(line["data_type"], line["id"]) for line in lines if line["action"] in ("void", "delete")]


def post_documents(books: Books, *documents: Record | tuple[Record, int], mark: str = "") -> list[Posting]:
    """Documents no order makes, written as any are. One in a pair settles the document with that number in this list."""
    made: list[Posting] = []
    with tenant(books.owner):
        for number, given in enumerate(documents):
            document, settled = given if isinstance(given, tuple) else (given, None)
            posting = shadow(books.flow, document, of=f"made{mark}-{number}", state=Posting.State.PLANNED)
            posting.reference = marked(posting.reference, posting.key)
            posting.depends_on = None if settled is None else made[settled]
            if settled is not None:
                posting.record = made[settled].record
            posting.save(update_fields=["reference", "depends_on", "record"])
            made.append(posting)
    books.write()
    with tenant(books.owner):
        found = [Posting.objects.get(pk=posting.pk) for posting in made]
    assert {posting.state for posting in found} == {"posted"}, [posting.problem for posting in found]
    return found


@dataclass(frozen=True)
class Codes:
    """Ledger accounts of one ledger, by what they are for."""

    sales: str
    clearing: str
    bank: str
    fees: str
    no_tax: str = ""


CODES = {"xero": Codes("200", "092", "090", "405"), "quickbooks": Codes("79", "37", "35", "61")}


def codes(books: Books) -> Codes:
    return CODES[books.connection.connector]


def sale(books: Books, kind: type[Invoice] | type[CreditNote], number: str, amount: str, **changes: Any) -> Any:
    """An invoice or a credit note of one line, without tax."""
    total = Decimal(amount)
    line = DocumentLine(description="Lamp", amount=total, ledger_account=codes(books).sales)
    values: dict[str, Any] = {
        "id": "",
        "number": number,
        "reference": number,
        "date": DAY,
        "currency": "GBP",
        "customer": Party(name="Ada Hart"),
        "tax_mode": "none",
        "lines": (line,),
        "total": total,
    }
    return kind(**{**values, **changes})


def paid(books: Books, amount: str, reference: str = "Paid", **changes: Any) -> CustomerPayment:
    values: dict[str, Any] = {
        "id": "",
        "date": DAY,
        "currency": "GBP",
        "amount": Decimal(amount),
        "ledger_account": codes(books).clearing,
        "customer": Party(name="Ada Hart"),
        "reference": reference,
    }
    return CustomerPayment(**{**values, **changes})


def payout(books: Books, amount: str = "80.00", day: dt.date = DAY) -> BankTransfer:
    return BankTransfer(
        id="",
        date=day,
        currency="GBP",
        amount=Decimal(amount),
        from_ledger_account=codes(books).clearing,
        to_ledger_account=codes(books).bank,
        reference="Payout 7",
    )


def fees(books: Books, amount: str = "3.40", day: dt.date = DAY) -> Expense:
    return Expense(
        id="",
        date=day,
        currency="GBP",
        amount=Decimal(amount),
        paid_from_ledger_account=codes(books).clearing,
        ledger_account=codes(books).fees,
        supplier=Party(name="Shopify"),
        description="Fees",
        reference="Fees of payout 7",
    )


def one_of_each(books: Books, day: dt.date = DAY, mark: str = "") -> list[Posting]:
    """Every kind of entry a flow can post: a paid invoice, a credit note paid back, one still open, a payout and its fees."""
    is_one_piece = connector(books.connection.connector).writable("credit_note").settles_on_document
    back = {"refund_ledger_account": codes(books).clearing} if is_one_piece else {}
    refund = () if is_one_piece else ((paid(books, "30.00", "Paid back", settles="credit_note", date=day), 2),)
    return post_documents(
        books,
        sale(books, Invoice, f"S-1{mark}", "120.00", date=day),
        (paid(books, "120.00", date=day), 0),
        sale(books, CreditNote, f"C-1{mark}", "30.00", date=day, **back),
        sale(books, CreditNote, f"C-2{mark}", "12.50", date=day),
        payout(books, day=day),
        fees(books, day=day),
        *refund,
        mark=mark,
    )
