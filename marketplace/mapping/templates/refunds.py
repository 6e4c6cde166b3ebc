"""Refunds -> credit notes, paid back from where the customer's money was."""

from __future__ import annotations

from decimal import Decimal

from connectors.sdk.records import CreditNote, CustomerPayment, Refund, SalePayment
from marketplace.mapping.mapped import Mapped
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.steps import as_date
from marketplace.mapping.templates.base import TargetField, Template, of_map
from marketplace.mapping.templates.common import (
    base_amount_of,
    check_ledger_accounts,
    check_money_accounts,
    document_lines,
    joined_memo,
    open_date,
    party_of,
    tax_mode_of,
    with_rounding,
)
from marketplace.mapping.templates.sales import MONEY_IN, sale_fields


def build_refund(refund: Refund, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """One credit note with the refunded lines; its repayment is part of it or a document of its own, as the ledger has it."""
    if refund.is_test:
        raise Excluded("test", "It belongs to a test order.")
    if not circumstances.is_source_of_truth:
        raise Excluded("not_source_of_truth", "Another system is the source of truth for refunds.")
    if refund.total == 0:
        raise Excluded("zero", "Nothing was paid back.")
    values = mapped.fields(refund, circumstances)
    what = f"The refund of order {refund.order_number or refund.order_id}"
    date, note = open_date(values["date"], circumstances, what)
    lines = with_rounding(
        document_lines(refund.lines, mapped, values),
        total=refund.total,
        taxes_included=refund.taxes_included,
        values=values,
        mapped=mapped,
        currency=refund.currency,
        what=what,
    )
    payments = [payment for payment in refund.payments if payment.amount]
    repaid_from = [mapped.maps["payment_ledger_accounts"][payment.method] for payment in payments]
    check_ledger_accounts([*(line.ledger_account for line in lines), *repaid_from], circumstances)
    check_money_accounts(repaid_from, refund.currency, circumstances, or_base=True, what=what)
    on_document = circumstances.ledger.repays_on_credit_note and bool(payments)
    if on_document:
        _refuse_split(refund, payments, repaid_from)
    credit_note = CreditNote(
        id="",
        number=values["number"],
        reference=values["reference"],
        date=date,
        currency=refund.currency,
        customer=party_of(refund.customer, values, circumstances),
        tax_mode=tax_mode_of(refund.taxes_included, lines),
        lines=lines,
        total=refund.total,
        tax_total=sum((line.tax_amount for line in lines), Decimal(0)),
        memo=joined_memo(values["memo"], refund.reason, note),
        refund_ledger_account=repaid_from[0] if on_document else "",
        base_amount=_base_amount(payments, repaid_from, circumstances) if on_document else None,
    )
    planned = [PlannedDocument(purpose="credit_note", document=credit_note)]
    if not circumstances.ledger.repays_on_credit_note:
        pairs = zip(payments, repaid_from, strict=True)
        planned += [_repayment(payment, account, credit_note, circumstances) for payment, account in pairs]
    return planned


def _refuse_split(refund: Refund, payments: list[SalePayment], repaid_from: list[str]) -> None:
    """A ledger that repays on the credit note itself takes one account and the whole amount."""
    repaid = sum((payment.amount for payment in payments), Decimal(0))
    if len(set(repaid_from)) == 1 and repaid == refund.total:
        return
    raise Held(
        "split_repayment",
        f"{refund.currency} {repaid:.2f} of the refund of {refund.currency} {refund.total:.2f} was paid back, from "
        f"{len(set(repaid_from))} ledger accounts. This ledger takes one account and the whole amount.",
        owner="bookkeeper",
        next_step="Enter this refund in the ledger by hand, then exclude it here.",
    )


def _base_amount(payments: list[SalePayment], accounts: list[str], circumstances: Circumstances) -> Decimal | None:
    parts = [base_amount_of(one, account, circumstances) for one, account in zip(payments, accounts, strict=True)]
    known = [part for part in parts if part is not None]
    return sum(known, Decimal(0)) if len(known) == len(parts) else None


def _repayment(
    payment: SalePayment, account: str, credit_note: CreditNote, circumstances: Circumstances
) -> PlannedDocument:
    paid_on = as_date(payment.paid_at, circumstances.time_zone) or credit_note.date
    document = CustomerPayment(
        id="",
        date=max(paid_on, credit_note.date),
        currency=credit_note.currency,
        amount=payment.amount,
        base_amount=base_amount_of(payment, account, circumstances),
        ledger_account=account,
        settles="credit_note",
        document_number=credit_note.number,
        customer=credit_note.customer,
        reference=credit_note.reference,
    )
    return PlannedDocument(purpose=f"repayment:{payment.id}"[:60], document=document, needs="credit_note")


REFUNDS = Template(
    slug="refunds",
    name="Refunds → credit notes",
    summary="Every refund becomes a credit note, paid back from the account the payment went into.",
    source_type="refund",
    needs=("credit_note", "customer_payment"),
    main_type="credit_note",
    fields=(
        *sale_fields(
            "credit_note",
            date_path="refunded_at",
            number='concat("R", first(trim(id), 19))',
            reference="if_(is_set(order_number), order_number, order_id)",
        ),
        TargetField(
            name="payment_ledger_accounts",
            label="Paid back from",
            target=("customer_payment", "ledger_account"),
            kind="choice",
            choices="ledger_account",
            kinds=MONEY_IN,
            map_over="payment_method",
            default=of_map(),
            is_essential=True,
            hint="The clearing account each payment method is paid back from.",
        ),
    ),
    build=build_refund,
)
