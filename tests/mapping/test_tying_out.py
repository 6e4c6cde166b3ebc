"""What a shop sold, paid back and was paid out, in any currency: the entries say what the source says, and nothing is left between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sdk.currencies import minor_unit
from connectors.sdk.records import Document, Order, Record, Refund, SaleLine, SalePayment, Tax
from marketplace.mapping.journal import journal_of
from marketplace.mapping.plan import Circumstances, Held, PlannedDocument
from marketplace.mapping.templates.base import of_constant
from tests.mapping.plans import LEDGER, PAYOUTS, SALES, circumstances, plan
from tests.mapping.world import NOON, order, payout, refund

CLEARING, BANK, OWED = "092 Shop Payments Clearing", "090 Business Bank Account", "120 Accounts Receivable"
KINDS = ("item", "shipping", "tip", "gift_card")
UNITS = st.integers(min_value=1, max_value=500_000)


def in_currency(currency: str) -> Circumstances:
    """A ledger whose clearing and bank accounts are kept in a currency."""
    accounts = {
        code: msgspec.structs.replace(found, currency=currency if found.kind == "bank" else "")
        for code, found in LEDGER.ledger_accounts.items()
    }
    return circumstances(ledger_accounts=accounts)


@st.composite
def shops(draw: st.DrawFn) -> tuple[str, list[Order], list[Refund]]:
    """Paid orders of a shop in one currency, some of them paid back in part or in full, shipping and tips too."""
    currency = draw(st.sampled_from(["GBP", "EUR", "JPY", "KWD"]))
    unit, included = minor_unit(currency), draw(st.booleans())
    sold: list[Order] = []
    back: list[Refund] = []
    for number, drawn in enumerate(
        draw(
            st.lists(
                st.lists(st.tuples(UNITS, st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=4),
                min_size=1,
                max_size=4,
            )
        )
    ):
        lines = tuple(
            sale_line(units * unit, kind, unit, is_taxed=is_taxed, included=included) for units, kind, is_taxed in drawn
        )
        sold.append(paid_order(number, currency, lines, included=included))
        returned = lines[: draw(st.integers(min_value=0, max_value=len(lines)))]
        if returned:
            back.append(paid_back(number, currency, returned, included=included))
    return currency, sold, back


def sale_line(amount: Decimal, kind: Any, unit: Decimal, *, is_taxed: bool, included: bool) -> SaleLine:
    tax = (amount / (6 if included else 5)).quantize(unit)
    return SaleLine(
        kind=kind,
        description=kind,
        amount=amount,
        taxes=(Tax(name="VAT", rate=Decimal("0.2"), amount=tax),) if is_taxed else (),
    )


def total_of(lines: Iterable[SaleLine], *, included: bool) -> Decimal:
    return sum((line.amount + (0 if included else line.tax_amount) for line in lines), Decimal(0))


def paid_order(number: int, currency: str, lines: tuple[SaleLine, ...], *, included: bool) -> Order:
    total = total_of(lines, included=included)
    paid = SalePayment(id=f"p{number}", method="Shopify Payments", amount=total, paid_at=NOON)
    return msgspec.structs.replace(
        order(number, *lines), currency=currency, total=total, taxes_included=included, payments=(paid,)
    )


def paid_back(number: int, currency: str, lines: tuple[SaleLine, ...], *, included: bool) -> Refund:
    total = total_of(lines, included=included)
    paid = SalePayment(id=f"r{number}", method="Shopify Payments", amount=total, paid_at=NOON)
    return msgspec.structs.replace(
        refund(),
        id=f"r{number}",
        currency=currency,
        lines=lines,
        total=total,
        taxes_included=included,
        payments=(paid,),
    )


def balances(planned: Iterable[list[PlannedDocument]], given: Circumstances) -> Counter[str]:
    found: Counter[str] = Counter()
    for documents in planned:
        journal = journal_of(documents, given.ledger)
        assert journal is not None
        for line in journal.lines:
            found[line.name] += line.debit - line.credit  # type: ignore[assignment]
    return found


@settings(max_examples=60)
@given(shops(), st.integers(min_value=0, max_value=100))
def test_what_was_sold_less_what_went_back_and_fees_is_what_the_bank_got(
    shop: tuple[str, list[Order], list[Refund]], fee: int
) -> None:
    currency, sold, back = shop
    given = in_currency(currency)
    gross = sum((one.total for one in sold), Decimal(0))
    returned = sum((one.total for one in back), Decimal(0))
    fees = min(fee * minor_unit(currency), gross - returned)
    paid_out = payout(currency=currency, gross=gross, fees=fees, refunds=returned, net=gross - fees - returned)
    planned = [
        *(plan("orders", one, SALES, given) for one in sold),
        *(plan("refunds", one, SALES, given) for one in back),
    ]
    if paid_out.net or fees:
        planned.append(plan("payouts", paid_out, PAYOUTS, given))
    found = balances(planned, given)
    assert (found[CLEARING], found[OWED]) == (0, 0)
    assert found[BANK] == paid_out.net
    assert sum(found.values()) == 0
    documents = [part.document for some in planned for part in some]
    assert all(_is_whole(document, minor_unit(currency)) for document in documents)


def _is_whole(document: Record, unit: Decimal) -> bool:
    amount: Decimal = document.total if isinstance(document, Document) else getattr(document, "amount", Decimal(0))
    return amount % unit == 0


@pytest.mark.parametrize(
    ("currency", "off", "is_rounding"),
    [("JPY", "5", True), ("JPY", "6", False), ("KWD", "0.005", True), ("KWD", "0.006", False)],
)
def test_rounding_is_counted_in_what_the_currency_has(currency: str, off: str, *, is_rounding: bool) -> None:
    found = order(1, currency=currency)
    found = msgspec.structs.replace(found, total=found.total + Decimal(off))
    fields = SALES | {"rounding_ledger_account": of_constant("497")}
    if is_rounding:
        assert plan("orders", found, fields, in_currency(currency))
        return
    with pytest.raises(Held, match="is unexplained"):
        plan("orders", found, fields, in_currency(currency))


@pytest.mark.parametrize(
    ("settled", "own", "expected"),
    [("GBP", "", "85.04"), ("GBP", "GBP", "85.04"), ("GBP", "EUR", None), ("USD", "", None), ("", "", None)],
)
@pytest.mark.parametrize("on_note", [False, True])
def test_what_the_provider_made_of_a_payment_goes_along_where_its_balance_is_kept_in_the_ledgers_currency(
    settled: str, own: str, expected: str | None, *, on_note: bool
) -> None:
    given = in_currency(own)
    paid = SalePayment(
        id="p1",
        method="Shopify Payments",
        amount=Decimal("24.00"),
        paid_at=NOON,
        settled_amount=Decimal("85.04") if settled else None,
        settled_currency=settled,
    )
    sold = msgspec.structs.replace(order(1, currency="EUR"), payments=(paid,))
    back = msgspec.structs.replace(refund(), currency="EUR", payments=(paid,))
    as_note = replace(given, ledger=replace(given.ledger, repays_on_credit_note=True))
    planned = plan("refunds", back, SALES, as_note) if on_note else plan("orders", sold, SALES, given)
    document: Any = planned[0 if on_note else -1].document
    assert document.base_amount == (Decimal(expected) if expected else None)


@pytest.mark.parametrize("code", ["090", "092"])
def test_payout_is_not_put_into_an_account_of_another_currency(code: str) -> None:
    """The ledger would take the euros for pounds."""
    accounts = dict(in_currency("EUR").ledger.ledger_accounts)
    accounts[code] = msgspec.structs.replace(accounts[code], currency="GBP")
    with pytest.raises(Held, match=rf"is in EUR, but the ledger account {code} .* is kept in GBP") as held:
        plan("payouts", payout(currency="EUR"), PAYOUTS, circumstances(ledger_accounts=accounts))
    assert (held.value.code, held.value.owner) == ("account_currency", "bookkeeper")
    assert "Choose an account in EUR" in held.value.next_step


@pytest.mark.parametrize(("own", "is_fit"), [("EUR", True), ("GBP", True), ("", True), ("USD", False)])
@pytest.mark.parametrize("slug", ["orders", "refunds"])
def test_payment_goes_where_its_currency_is_kept_or_converted(slug: str, own: str, *, is_fit: bool) -> None:
    given = in_currency(own)
    found: Record = order(1, currency="EUR")
    if slug == "refunds":
        found = msgspec.structs.replace(refund(("Shopify Payments", "24.00")), currency="EUR")
    if is_fit:
        assert plan(slug, found, SALES, given)
        return
    with pytest.raises(Held, match="is kept in USD"):
        plan(slug, found, SALES, given)
