"""Taking back what was posted, driven as a person and a worker do; judged by the ledger's own books."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from connectors.registry import connector
from connectors.sdk.records import Company
from marketplace.installations.clients import client_for
from marketplace.posting.models import Posting, Reversal, ReversalLine
from marketplace.posting.reversal_planning import make_plan
from marketplace.posting.reversing import ask_for_reversal, confirm_reversal
from marketplace.posting.tasks import post
from tenants.context import tenant
from tests.posting.world import Books

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
