"""Payouts -> a bank transfer of what arrived, and the fees that were kept."""

from __future__ import annotations

from decimal import Decimal

from connectors.sdk.records import BankTransfer, Expense, Party, Payout
from marketplace.mapping.mapped import Mapped
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.templates.base import NOTHING, TargetField, Template, of_constant, of_expression, of_field
from marketplace.mapping.templates.common import check_ledger_accounts, check_money_accounts, open_date

BANKS = ("bank", "asset")


def build_payout(payout: Payout, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """Clearing -> bank for the net, clearing -> fees for what the payment provider kept. The payout must prove itself first:
    gross - fees - refunds + adjustments = net."""
    _refuse_unposted(payout, circumstances)
    values = mapped.fields(payout, circumstances)
    clearing, bank = values["clearing_ledger_account"], values["bank_ledger_account"]
    check_ledger_accounts([clearing, bank], circumstances)
    what = f"The payout of {payout.paid_date:%-d %B %Y}"
    check_money_accounts([clearing, bank], payout.currency, circumstances, or_base=False, what=what)
    date, _ = open_date(values["date"], circumstances, what)
    source, destination = (clearing, bank) if payout.net >= 0 else (bank, clearing)
    planned = []
    if payout.net:
        transfer = BankTransfer(
            id="",
            date=date,
            currency=payout.currency,
            amount=abs(payout.net),
            from_ledger_account=source,
            to_ledger_account=destination,
            reference=values["reference"],
        )
        planned.append(PlannedDocument(purpose="transfer", document=transfer))
    if payout.fees:
        planned.append(_kept("fees", payout.fees, "fees_ledger_account", payout, values, date, circumstances))
    if payout.adjustments < 0:
        planned.append(
            _kept("adjustments", -payout.adjustments, "adjustments_ledger_account", payout, values, date, circumstances)
        )
    return planned


def _refuse_unposted(payout: Payout, circumstances: Circumstances) -> None:
    if payout.is_test:
        raise Excluded("test", "It is a test payout.")
    if not circumstances.is_source_of_truth:
        raise Excluded("not_source_of_truth", "Another system is the source of truth for payouts.")
    if payout.status in ("failed", "cancelled"):
        raise Excluded("failed", f"The payout was {payout.status}: no money moved.")
    if payout.status != "paid":
        raise Excluded("not_paid_yet", "The money is still on its way. It is posted on the day it arrives.")
    unexplained = payout.net - (payout.gross - payout.fees - payout.refunds + payout.adjustments)
    if unexplained:
        raise Held(
            "payout_does_not_add_up",
            f"{payout.currency} {unexplained:.2f} of the payout of {payout.currency} {payout.net:.2f} is unexplained: gross "
            f"{payout.gross:.2f} − fees {payout.fees:.2f} − refunds {payout.refunds:.2f} + adjustments "
            f"{payout.adjustments:.2f} is not the deposit.",
            owner="bookkeeper",
            next_step="Open the payout at the payment provider and look for a movement that is missing here.",
        )
    if payout.adjustments > 0:
        raise Held(
            "adjustment",
            f"The payout holds {payout.currency} {payout.adjustments:.2f} that is neither a sale nor a refund.",
            owner="bookkeeper",
            next_step="Find out at the payment provider what it is and book it by hand, then exclude this payout.",
        )


def _kept(
    purpose: str,
    amount: Decimal,
    field: str,
    payout: Payout,
    values: dict[str, object],
    date: object,
    circumstances: Circumstances,
) -> PlannedDocument:
    account = str(values.get(field) or values["fees_ledger_account"])
    check_ledger_accounts([account], circumstances)
    document = Expense(
        id="",
        date=date,  # type: ignore[arg-type]
        currency=payout.currency,
        amount=amount,
        paid_from_ledger_account=str(values["clearing_ledger_account"]),
        ledger_account=account,
        supplier=Party(name=str(values["supplier"] or circumstances.source_name)),
        description=f"{circumstances.source_name} {purpose}, payout of {payout.paid_date:%-d %B %Y}",
        reference=str(values["reference"]),
        tax_rate=str(values["fees_tax_rate"]),
    )
    return PlannedDocument(purpose=purpose, document=document)


PAYOUTS = Template(
    slug="payouts",
    name="Payouts → bank transfers with fees",
    summary="Every payout moves from clearing to the bank as one transfer equal to the deposit, with its fees beside it.",
    source_type="payout",
    needs=("bank_transfer", "expense"),
    main_type="bank_transfer",
    fields=(
        TargetField(
            name="clearing_ledger_account",
            label="From (clearing account)",
            target=("bank_transfer", "from_ledger_account"),
            kind="choice",
            choices="ledger_account",
            kinds=BANKS,
            is_required=True,
            is_essential=True,
            hint="Where the payments of this provider wait.",
        ),
        TargetField(
            name="bank_ledger_account",
            label="To (bank account)",
            target=("bank_transfer", "to_ledger_account"),
            kind="choice",
            choices="ledger_account",
            kinds=BANKS,
            is_required=True,
            is_essential=True,
            hint="The bank account that receives the deposit.",
        ),
        TargetField(
            name="fees_ledger_account",
            label="Fees",
            target=("expense", "ledger_account"),
            kind="choice",
            choices="ledger_account",
            kinds=("expense",),
            is_required=True,
            is_essential=True,
            hint="What the payment provider keeps.",
        ),
        TargetField(
            name="adjustments_ledger_account",
            label="Other deductions",
            target=("expense", "ledger_account"),
            kind="choice",
            choices="ledger_account",
            kinds=("expense",),
            default=NOTHING,
            hint="Disputes and similar. Empty: booked with fees.",
        ),
        TargetField(
            name="fees_tax_rate",
            label="Tax rate of fees",
            target=("expense", "tax_rate"),
            kind="choice",
            choices="tax_rate",
            default=NOTHING,
        ),
        TargetField(name="supplier", label="Supplier", target=("expense", "supplier"), default=of_constant("")),
        TargetField(
            name="date",
            label="Date",
            target=("bank_transfer", "date"),
            kind="date",
            default=of_field("paid_date"),
            is_required=True,
        ),
        TargetField(
            name="reference",
            label="Reference",
            target=("bank_transfer", "reference"),
            default=of_expression("if_(is_set(bank_reference), bank_reference, trim(id))"),
        ),
    ),
    build=build_payout,
)
