"""What amounts in foreign currencies, and purchase taxes, are guarded by."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.providers.quickbooks import rates, streams, writing
from marketplace.posting import reversal_planning, reversing, trial_balances
from tests.faults.removal import guard, replace

ABROAD = "tests/posting/test_foreign_currencies.py::test_"
QUICKBOOKS = "connectors/providers/quickbooks/test_peculiarities.py::test_"


@guard(
    "an entry in a foreign currency goes out with a rate where the ledger would book it one to one",
    noticed_by=ABROAD + "sale_stands_in_the_books_at_the_rate_of_its_day[quickbooks]",
    in_ci=True,
)
def _() -> None:
    replace(rates, "day_rate", lambda client, currency, day: None)


@guard(
    "the rate is that of the entry's own day",
    noticed_by=QUICKBOOKS + "entries_in_a_foreign_currency_go_out_at_the_rate_of_their_own_day",
)
def _() -> None:
    asked = rates.day_rate
    replace(rates, "day_rate", lambda client, currency, day: asked(client, currency, day.today()))


@guard(
    "an entry against another goes out at the exchange rate of that one",
    noticed_by=ABROAD + "books_stand_as_before_although_the_exchange_rate_changed_since[quickbooks-True]",
)
def _() -> None:
    replace(reversing, "at_rate", lambda document, rate: document)


@guard(
    "a payment takes off what customers owe at the rate of what it pays",
    noticed_by=ABROAD + "gain_or_loss_goes_with_the_payment_that_made_it[xero-amounts0]",
)
def _() -> None:
    def at_its_own(movements: Any, rate: Decimal, settled_at: Decimal, *, receivable: str) -> dict[str, Decimal]:
        return trial_balances.in_base(movements, rate)

    replace(reversal_planning, "payment_in_base", at_its_own)


@guard(
    "the tax of a deposit makes the whole what came back, to the cent",
    noticed_by=QUICKBOOKS + "purchase_tax_comes_back_with_a_deposit_to_the_cent[3]",
)
def _() -> None:
    guarded = writing.expense_body

    def left_to_the_ledger(*args: Any) -> tuple[str, dict[str, Any]]:
        entity, body = guarded(*args)
        return entity, {name: value for name, value in body.items() if name != "TxnTaxDetail"}

    replace(streams, "expense_body", left_to_the_ledger)
