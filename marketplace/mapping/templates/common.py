"""What sales, refunds and deals share: lines with ledger accounts and taxes, totals that must add up, closed periods."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from connectors.sdk.currencies import minor_unit
from connectors.sdk.records import DocumentLine, Party, SaleLine, SalePayment, Tax
from marketplace.mapping.mapped import Mapped, ValueMap
from marketplace.mapping.plan import Circumstances, Held

#: A difference of up to so many cents (or yen, or fils) is rounding and gets a line of its own; above it a person has to look.
ROUNDING_CAP = 5
NO_TAX = "No tax"
_ACCOUNT_FIELDS = {
    "shipping": "shipping_ledger_account",
    "gift_card": "gift_card_ledger_account",
    "rounding": "rounding_ledger_account",
    "tip": "tip_ledger_account",
}
TaxMode = Literal["inclusive", "exclusive", "none"]


def tax_label(taxes: Sequence[Tax]) -> str:
    """How a line's taxes are named in the value map: "VAT 20%", "State 6% + City 2.5%", or "No tax"."""
    named = [f"{tax.name} {_percent(tax.rate)}" for tax in taxes if tax.amount or tax.rate]
    return " + ".join(named) or NO_TAX


@lru_cache(maxsize=1024)
def _percent(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f}%"


def document_lines(lines: Sequence[SaleLine], mapped: Mapped, values: Mapping[str, Any]) -> tuple[DocumentLine, ...]:
    """The sale's lines with the ledger account of their kind and the tax code of their taxes."""
    taxes = mapped.maps["tax_rates"]
    return tuple(
        [
            DocumentLine(
                description=_described(line),
                quantity=line.quantity,
                amount=line.amount,
                ledger_account=ledger_account_of(line.kind, values),
                tax_rate=_tax_code(taxes, tax_label(line.taxes)),
                tax_amount=line.tax_amount,
                sku=line.sku,
            )
            for line in lines
        ]
    )


def _tax_code(taxes: ValueMap, label: str) -> str:
    """The ledger's code for a tax. What is sold without tax needs none, where the ledger has no code for that."""
    return (taxes.pairs.get(label) or taxes.otherwise) if label == NO_TAX else taxes[label]


def _described(line: SaleLine) -> str:
    if line.discount_amount:
        return f"{line.description} (discount {line.discount_amount:.2f})"
    return line.description or line.kind.replace("_", " ").capitalize()


def ledger_account_of(kind: str, values: Mapping[str, Any]) -> str:
    """The account a kind of line is booked on; kinds without one of their own go where sales go."""
    return str(values.get(_ACCOUNT_FIELDS.get(kind, "")) or values["sales_ledger_account"])


def tax_mode_of(taxes_included: bool, lines: Sequence[DocumentLine]) -> TaxMode:
    if not any(line.tax_amount for line in lines):
        return "none" if not any(line.tax_rate for line in lines) else ("inclusive" if taxes_included else "exclusive")
    return "inclusive" if taxes_included else "exclusive"


def with_rounding(
    lines: tuple[DocumentLine, ...],
    *,
    total: Decimal,
    taxes_included: bool,
    values: Mapping[str, Any],
    mapped: Mapped,
    currency: str,
    what: str,
) -> tuple[DocumentLine, ...]:
    """The lines must add up to the source's total. Cents of rounding become a line; more is held."""
    found = sum([line.amount for line in lines], Decimal(0))
    if not taxes_included:
        found += sum([line.tax_amount for line in lines], Decimal(0))
    difference = total - found
    if difference == 0:
        return lines
    account = str(values.get("rounding_ledger_account") or "")
    if abs(difference) > ROUNDING_CAP * minor_unit(currency) or not account:
        raise Held(
            "does_not_add_up",
            f"The lines of {what} add up to {currency} {found:.2f}, but its total is {currency} {total:.2f}: "
            f"{currency} {difference:.2f} is unexplained.",
            owner="bookkeeper",
            next_step="Look at the source record; if it is right, choose a rounding account or correct it at the source.",
        )
    rounding = DocumentLine(
        description="Rounding",
        amount=difference,
        ledger_account=account,
        tax_rate=mapped.maps["tax_rates"].pairs.get(NO_TAX, ""),
    )
    return (*lines, rounding)


def check_ledger_accounts(codes: Sequence[str], circumstances: Circumstances) -> None:
    """A mapped account that was archived or deleted since holds what uses it, and only that."""
    known = circumstances.ledger.ledger_accounts
    if not known:
        return
    for code in codes:
        found = known.get(code)
        if code and (found is None or found.is_archived):
            name = f"{code} {found.name}" if found else code
            raise Held(
                "archived_account",
                f"The ledger account {name} is no longer active in the ledger.",
                owner="bookkeeper",
                next_step="Choose another ledger account in the field mapping, then post it again.",
            )


def check_money_accounts(
    codes: Sequence[str], currency: str, circumstances: Circumstances, *, or_base: bool, what: str
) -> None:
    """Money is only put where the ledger keeps that currency, or with `or_base` converts it: elsewhere it would refuse the entry, or
    take the figure for one of its own currency, and the account would never come to nought."""
    base = circumstances.ledger.base_currency
    for code in codes:
        found = circumstances.ledger.ledger_accounts.get(code)
        own = (found.currency or base) if found else ""
        if found is None or not own or own == currency or (or_base and own == base):
            continue
        raise Held(
            "account_currency",
            f"{what} is in {currency}, but the ledger account {code} {found.name} is kept in {own}.",
            owner="bookkeeper",
            next_step=f"Choose an account in {currency} in the field mapping, opened in the ledger first where there is none, then post "
            "it again.",
        )


def base_amount_of(payment: SalePayment, account: str, circumstances: Circumstances) -> Decimal | None:
    """What a payment came to in the ledger's own currency, where the payment provider converted it and its balance is an account in
    that currency: at any other rate that account would never come to nought."""
    base, found = circumstances.ledger.base_currency, circumstances.ledger.ledger_accounts.get(account)
    is_in_base = found is not None and (found.currency or base) == base
    return payment.settled_amount if is_in_base and payment.settled_currency == base else None


def open_date(date: dt.date, circumstances: Circumstances, what: str) -> tuple[dt.date, str]:
    """The date to post under, and a note when it had to move: nothing is dated in closed books."""
    closed = circumstances.ledger.closed_until
    if closed is None or date > closed:
        return date, ""
    if circumstances.settings.get("closed_period") == "next_open":
        first = closed + dt.timedelta(days=1)
        return first, f"{what} of {date:%-d %B %Y}, posted in the first open period."
    raise Held(
        "closed_period",
        f"{what} is dated {date:%-d %B %Y}, but the books are closed up to {closed:%-d %B %Y}.",
        owner="bookkeeper",
        next_step="Decide on the flow's page what happens to entries in a closed period. The books stay closed.",
    )


def party_of(source: Party, values: Mapping[str, Any], circumstances: Circumstances) -> Party:
    """The contact on the document: one fixed name for all, or the buyer, with the ledger's own id when it is known."""
    fixed = str(values.get("contact") or "")
    if fixed:
        return Party(name=fixed)
    name = source.name or source.email or f"{circumstances.source_name} customer"
    return Party(
        id=circumstances.ledger.contacts.get(source.id, ""), name=name, email=source.email, country=source.country
    )


def joined_memo(*parts: str) -> str:
    return " ".join(part for part in parts if part)
