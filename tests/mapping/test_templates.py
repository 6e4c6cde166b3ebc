"""What each template makes of records: totals to the cent, or one reason why not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    CustomerPayment,
    Document,
    Expense,
    Invoice,
    Order,
    Record,
    SaleLine,
    SalePayment,
    Tax,
)
from marketplace.mapping.journal import OutOfBalance, journal_of
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.templates.base import of_constant
from marketplace.mapping.templates.contacts import differing
from tests.mapping.plans import LEDGER, PAYOUTS, SALES, circumstances, plan
from tests.mapping.world import NOON, customer, deal, line, order, payout, refund, vat

CENTS = st.integers(min_value=1, max_value=10_000_00).map(lambda cents: Decimal(cents) / 100)
KINDS = st.sampled_from(["item", "shipping", "tip", "gift_card", "duty", "adjustment"])


def main(planned: list[PlannedDocument]) -> Document:
    document = planned[0].document
    assert isinstance(document, Document)
    return document


def payments(planned: list[PlannedDocument]) -> list[CustomerPayment]:
    return [part.document for part in planned if isinstance(part.document, CustomerPayment)]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Any paid order that adds up, with tax on top or inside."""
    included = draw(st.booleans())
    lines = []
    for amount, kind, is_taxed in draw(st.lists(st.tuples(CENTS, KINDS, st.booleans()), min_size=1, max_size=6)):
        tax = (amount / (6 if included else 5)).quantize(Decimal("0.01"))
        taxes = (Tax(name="VAT", rate=Decimal("0.2"), amount=tax),) if is_taxed else ()
        lines.append(SaleLine(kind=kind, description=kind, amount=amount, taxes=taxes))  # type: ignore[arg-type]
    made = order(1, *lines, taxes_included=included)
    tax_total = sum((part.tax_amount for part in lines), Decimal(0))
    total = sum((part.amount for part in lines), Decimal(0)) + (0 if included else tax_total)
    parts = draw(st.lists(st.integers(min_value=1, max_value=9), min_size=0, max_size=3))
    paid = [(total * share / 30).quantize(Decimal("0.01")) for share in parts]
    return msgspec.structs.replace(
        made,
        total=total,
        payments=tuple(
            SalePayment(id=str(number), method="Shopify Payments", amount=amount, paid_at=NOON)
            for number, amount in enumerate(paid)
        ),
    )


@given(orders())
def test_any_order_keeps_its_total_and_balances(found: Order) -> None:
    planned = plan("orders", found, SALES)
    invoice = main(planned)
    net = sum((part.amount for part in invoice.lines), Decimal(0))
    taxes = sum((part.tax_amount for part in invoice.lines), Decimal(0))
    assert invoice.total == found.total == net + (Decimal(0) if found.taxes_included else taxes)
    assert [part.amount for part in payments(planned)] == [part.amount for part in found.payments if part.amount]
    journal = journal_of(planned, LEDGER)
    assert journal is not None
    assert journal.total == sum(part.credit for part in journal.lines)
    assert all(part.debit >= 0 and part.credit >= 0 for part in journal.lines)


@given(st.integers(min_value=-9, max_value=9).map(lambda cents: Decimal(cents) / 100))
def test_cents_of_rounding_are_a_line_and_more_is_held(difference: Decimal) -> None:
    found = order(1)
    found = msgspec.structs.replace(found, total=found.total + difference)
    fields = SALES | {"rounding_ledger_account": of_constant("497")}
    if abs(difference) > Decimal("0.05"):
        with pytest.raises(Held) as held:
            plan("orders", found, fields)
        assert held.value.code == "does_not_add_up"
        return
    invoice = main(plan("orders", found, fields))
    rounding = [part.amount for part in invoice.lines if part.ledger_account == "497"]
    assert rounding == ([difference] if difference else [])
    assert invoice.total == found.total


def test_rounding_without_an_account_is_held() -> None:
    found = order(1)
    with pytest.raises(Held, match=r"GBP 0\.01 is unexplained"):
        plan("orders", msgspec.structs.replace(found, total=found.total + Decimal("0.01")), SALES)


def test_lines_go_to_the_account_of_their_kind() -> None:
    kinds = ("item", "shipping", "gift_card", "tip")
    found = order(1, *(line("10.00", kind=kind, is_taxed=kind != "gift_card") for kind in kinds))
    invoice = main(plan("orders", found, SALES))
    assert [part.ledger_account for part in invoice.lines] == ["200", "205", "260", "200"]
    assert [part.tax_rate for part in invoice.lines] == ["OUTPUT2", "OUTPUT2", "NONE", "OUTPUT2"]


def test_gift_card_pays_from_what_is_owed() -> None:
    found = order(1)
    paid = (
        SalePayment(id="a", method="Gift card", amount=Decimal("20.00"), paid_at=NOON),
        SalePayment(id="b", method="Shopify Payments", amount=Decimal("34.00"), paid_at=NOON),
    )
    planned = plan("orders", msgspec.structs.replace(found, payments=paid), SALES)
    assert [(part.ledger_account, part.amount) for part in payments(planned)] == [
        ("260", Decimal("20.00")),
        ("092", Decimal("34.00")),
    ]
    assert [part.needs for part in planned] == ["", "invoice", "invoice"]


def test_partly_paid_order_is_a_whole_invoice_with_what_was_paid() -> None:
    paid = (SalePayment(id="a", method="Shopify Payments", amount=Decimal("10.00"), paid_at=NOON),)
    planned = plan("orders", order(1, status="partly_paid", payments=paid), SALES)
    assert main(planned).total == Decimal("54.00")
    assert [part.amount for part in payments(planned)] == [Decimal("10.00")]
    journal = journal_of(planned, LEDGER)
    assert journal is not None
    owed = sum(part.debit - part.credit for part in journal.lines if part.name == "120 Accounts Receivable")
    assert owed == Decimal("44.00")


def test_foreign_currency_stays_on_every_document() -> None:
    planned = plan("orders", order(1, currency="EUR"), SALES)
    assert {part.document.currency for part in planned} == {"EUR"}  # type: ignore[attr-defined]
    journal = journal_of(planned, LEDGER)
    assert journal is not None and journal.currency == "EUR"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (order(1, is_test=True), "test"),
        (order(1, status="cancelled"), "cancelled"),
        (order(1, status="open"), "unpaid"),
        (order(1, total=Decimal(0)), "zero"),
    ],
)
def test_orders_that_do_not_belong_in_the_books_are_excluded(found: Order, code: str) -> None:
    with pytest.raises(Excluded) as excluded:
        plan("orders", found, SALES)
    assert excluded.value.code == code


def test_option_nobody_mapped_is_held_unless_there_is_an_answer_for_the_rest() -> None:
    with pytest.raises(Held, match="nothing is chosen for “Barter” yet") as held:
        plan("orders", order(1, method="Barter"), SALES)
    assert (held.value.code, held.value.owner) == ("unmapped", "bookkeeper")
    rest = {"payment_ledger_accounts": {"from": "map", "pairs": {}, "otherwise": "093"}}
    assert payments(plan("orders", order(1, method="Barter"), SALES | rest))[0].ledger_account == "093"


@pytest.mark.parametrize("gone", ["200", "205", "092"])
def test_archived_account_holds_what_uses_it(gone: str) -> None:
    accounts = {
        code: msgspec.structs.replace(found, is_archived=code == gone) for code, found in LEDGER.ledger_accounts.items()
    }
    with pytest.raises(Held, match=rf"{gone} .* is no longer active") as held:
        plan("orders", order(1), SALES, circumstances(ledger_accounts=accounts))
    assert held.value.code == "archived_account"
    if gone == "205":
        assert plan("orders", order(1, line("40.00")), SALES, circumstances(ledger_accounts=accounts))


def test_closed_period_holds_or_moves_to_the_first_open_day() -> None:
    closed = dt.date(2026, 11, 30)
    with pytest.raises(Held, match="books are closed up to 30 November 2026") as held:
        plan("orders", order(1), SALES, circumstances(closed_until=closed))
    assert held.value.code == "closed_period"
    planned = plan("orders", order(1), SALES, circumstances(closed_until=closed, policy="next_open"))
    assert isinstance(planned[0].document, Invoice)
    assert planned[0].document.date == planned[0].document.due_date == dt.date(2026, 12, 1)
    assert "Order #1001 of 3 November 2026" in planned[0].document.memo
    assert payments(planned)[0].date == dt.date(2026, 12, 1)


def test_day_is_the_tenants_day() -> None:
    late = dt.datetime(2026, 6, 30, 23, 30, tzinfo=dt.UTC)
    invoice = main(plan("orders", order(1, placed_at=late), SALES))
    assert invoice.date == dt.date(2026, 7, 1)


def refunded(found: Record, given: Circumstances | None = None) -> list[PlannedDocument]:
    return plan("refunds", found, SALES, given)


def test_refund_is_paid_back_by_documents_of_its_own() -> None:
    planned = refunded(refund(("Shopify Payments", "20.00"), ("Gift card", "4.00")))
    assert [part.purpose for part in planned] == ["credit_note", "repayment:rp0", "repayment:rp1"]
    assert [(part.ledger_account, part.settles, part.amount) for part in payments(planned)] == [
        ("092", "credit_note", Decimal("20.00")),
        ("260", "credit_note", Decimal("4.00")),
    ]
    journal = journal_of(planned, LEDGER)
    assert journal is not None
    assert sum(part.debit - part.credit for part in journal.lines if part.name.startswith("120")) == 0


def test_ledger_that_repays_on_the_credit_note_gets_one_document() -> None:
    planned = refunded(refund(("Shopify Payments", "24.00")), circumstances(repays_on_credit_note=True))
    assert len(planned) == 1
    assert isinstance(planned[0].document, CreditNote)
    assert planned[0].document.refund_ledger_account == "092"


@pytest.mark.parametrize(
    "parts", [(("Shopify Payments", "20.00"), ("Gift card", "4.00")), (("Shopify Payments", "10.00"),)]
)
def test_ledger_that_repays_on_the_credit_note_holds_what_it_cannot_show(parts: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Held) as held:
        refunded(refund(*parts), circumstances(repays_on_credit_note=True))
    assert held.value.code == "split_repayment"


def test_refund_without_money_back_is_an_open_credit_note() -> None:
    planned = refunded(refund(), circumstances(repays_on_credit_note=True))
    assert isinstance(planned[0].document, CreditNote)
    assert planned[0].document.refund_ledger_account == ""
    assert len(planned) == 1


@given(CENTS, CENTS, st.one_of(st.just(Decimal(0)), CENTS), st.one_of(st.just(Decimal(0)), CENTS))
def test_payout_moves_exactly_what_left_clearing(
    gross: Decimal, fees: Decimal, refunds: Decimal, lost: Decimal
) -> None:
    found = payout(gross=gross, fees=fees, refunds=refunds, adjustments=-lost, net=gross - fees - refunds - lost)
    planned = plan("payouts", found, PAYOUTS)
    journal = journal_of(planned, LEDGER)
    assert journal is not None
    moved = sum(part.credit - part.debit for part in journal.lines if part.name == "092 Shop Payments Clearing")
    assert moved == gross - refunds
    banked = sum(part.debit - part.credit for part in journal.lines if part.name == "090 Business Bank Account")
    assert banked == found.net


def test_payout_is_a_transfer_and_its_fees() -> None:
    transfer, fees = (part.document for part in plan("payouts", payout(), PAYOUTS))
    assert isinstance(transfer, BankTransfer) and isinstance(fees, Expense)
    assert (transfer.amount, fees.amount, fees.ledger_account) == (Decimal("86.80"), Decimal("3.20"), "404")


def test_payout_that_does_not_add_up_is_held_with_the_sum() -> None:
    with pytest.raises(Held, match=r"GBP 0\.20 of the payout of GBP 87\.00 is unexplained") as held:
        plan("payouts", payout(net=Decimal("87.00")), PAYOUTS)
    assert held.value.code == "payout_does_not_add_up"


def test_payout_with_money_from_nowhere_is_held() -> None:
    with pytest.raises(Held, match="neither a sale nor a refund"):
        plan("payouts", payout(adjustments=Decimal("5.00"), net=Decimal("91.80")), PAYOUTS)


@pytest.mark.parametrize(("status", "code"), [("in_transit", "not_paid_yet"), ("failed", "failed")])
def test_payout_that_has_not_arrived_is_excluded(status: str, code: str) -> None:
    with pytest.raises(Excluded) as excluded:
        plan("payouts", payout(status=status), PAYOUTS)
    assert excluded.value.code == code


def test_won_deal_becomes_an_open_invoice() -> None:
    (part,) = plan("deals", deal(), SALES)
    assert isinstance(part.document, Invoice)
    assert part.document.total == Decimal("48.00")
    assert part.document.due_date == dt.date(2026, 12, 3)


def test_deal_is_not_invoiced_before_it_is_won_nor_without_a_day_nor_without_lines() -> None:
    with pytest.raises(Excluded, match="not won yet"):
        plan("deals", deal(is_won=False), SALES)
    with pytest.raises(Held, match="“Date” cannot be worked out"):
        plan("deals", deal(closed_at=None), SALES)
    with pytest.raises(Held, match="no lines"):
        plan("deals", deal(lines=()), SALES)


def test_contact_known_by_its_address_is_linked_and_never_copied() -> None:
    known = customer(id="k1", name="A. Buyer")
    link, changes = plan("customers", customer(), {}, circumstances(contact_bodies={"k1": known}))
    assert [(part.action, part.external_id) for part in (link, changes)] == [("link", "k1"), ("update", "k1")]
    twins = {"k1": known, "k2": customer(id="k2")}
    with pytest.raises(Held, match="2 contacts look like Ada Buyer"):
        plan("customers", customer(), {}, circumstances(contact_bodies=twins))


def test_contact_without_an_address_is_known_by_its_name() -> None:
    known = customer(id="k1", email="")
    link, _ = plan("customers", customer(), {}, circumstances(contact_bodies={"k1": known}))
    assert (link.action, link.external_id) == ("link", "k1")
    other = customer(id="k1", email="somebody@example.com")
    (created,) = plan("customers", customer(), {}, circumstances(contact_bodies={"k1": other}))
    assert created.action == "create"


def test_look_ahead_shows_only_what_differs_and_may_be_written() -> None:
    known = customer(id="k1", name="A. Buyer", email="ada@example.com", phone="")
    given_ledger = circumstances(contacts={"c1": "k1"}, contact_bodies={"k1": known})
    modes = {"name": {"from": "field", "path": "name", "write_mode": "never"}}
    (part,) = plan("customers", customer(phone="0123"), modes, given_ledger)
    shown = differing(part, given_ledger)
    assert shown is not None
    assert (shown.document.name, shown.document.phone) == ("", "0123")  # type: ignore[attr-defined]
    (same,) = plan("customers", customer(), modes, given_ledger)
    assert differing(same, given_ledger) is None


def test_contact_that_is_gone_over_there_waits_for_a_person() -> None:
    archived = customer(id="k1", is_archived=True)
    with pytest.raises(Held, match="archived or deleted on the other side"):
        plan("customers", customer(), {}, circumstances(contacts={"c1": "k1"}, contact_bodies={"k1": archived}))


def test_journal_out_of_balance_is_refused() -> None:
    invoice = main(plan("orders", order(1), SALES))
    broken = msgspec.structs.replace(invoice, total=invoice.total + 1)
    with pytest.raises(OutOfBalance):
        journal_of([PlannedDocument(purpose="invoice", document=broken)], LEDGER)


def test_several_taxes_of_a_line_are_one_option() -> None:
    taxes = (*vat("40.00"), Tax(name="City", rate=Decimal("0.025"), amount=Decimal("1.00")))
    with pytest.raises(Held, match=r"“VAT 20% \+ City 2\.5%”"):
        plan("orders", order(1, SaleLine(description="x", amount=Decimal("40.00"), taxes=taxes)), SALES)
