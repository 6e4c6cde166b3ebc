"""Sensible defaults: the ledger accounts and taxes an owner would most likely choose, found by kind, name and rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.sdk.manifest import Manifest
from connectors.sdk.records import LedgerAccount, TaxRate
from marketplace.mapping.options import Options
from marketplace.mapping.templates import TargetField, Template
from marketplace.mapping.templates.base import of_constant

#: Words in an account's name that speak for a field, the strongest first.
WORDS: dict[str, tuple[str, ...]] = {
    "sales_ledger_account": ("sales", "sale", "revenue", "turnover", "income"),
    "shipping_ledger_account": ("shipping", "delivery", "postage", "freight"),
    "gift_card_ledger_account": ("gift", "voucher"),
    "tip_ledger_account": ("tips", "tip", "gratuities"),
    "rounding_ledger_account": ("rounding",),
    "bank_ledger_account": ("bank", "checking", "current", "cheque"),
    "fees_ledger_account": ("merchant", "processing", "stripe", "paypal", "card", "fees", "charges"),
    "adjustments_ledger_account": ("disputes", "dispute", "chargebacks", "chargeback"),
}
#: Words that speak against it, however well the others fit.
NEVER: dict[str, tuple[str, ...]] = {
    "sales_ledger_account": ("shipping", "delivery", "discounts", "returns", "refunds", "interest", "other"),
    "bank_ledger_account": ("clearing", "savings", "petty", "undeposited"),
}
CATEGORY_WORDS = {"shop": ("shop", "store", "online"), "payments": ("card", "payments"), "crm": (), "ledger": ()}
METHOD_WORDS = {"gift": ("gift", "voucher"), "cash": ("cash", "till"), "manual": ("other",), "bank": ("bank",)}
NO_TAX_WORDS = ("no", "none", "non", "exempt", "zero", "outside")
PURCHASE_WORDS = ("purchases", "purchase", "expenses", "expense", "input", "acquisitions", "imports")


@dataclass(frozen=True, kw_only=True)
class Suggester:
    """What is known when a flow's fields are suggested."""

    chosen: Template
    source: Manifest
    options: Options

    def entries(self) -> dict[str, dict[str, Any]]:
        """An entry for each field something is suggested for."""
        found = {field.name: self.entry(field) for field in self.chosen.fields}
        return {name: entry for name, entry in found.items() if entry}

    def entry(self, field: TargetField) -> dict[str, Any]:
        if field.map_over:
            pairs = {option: self.pair(field, option) for option in self.options.seen(field)}
            return {"from": "map", "pairs": {option: code for option, code in pairs.items() if code}, "otherwise": ""}
        if field.choices == "ledger_account":
            code = self.account(field)
            return of_constant(code) if code else {}
        return {}

    def account(self, field: TargetField) -> str:
        offered = self.options.accounts(field)
        if field.name == "clearing_ledger_account":
            return self.clearing(offered)
        found = best_account(offered, WORDS.get(field.name, ()), NEVER.get(field.name, ()))
        if not found and field.is_required and len(offered) == 1:
            return offered[0].code
        return found

    def clearing(self, offered: Sequence[LedgerAccount]) -> str:
        """The account where this provider's money waits: its own clearing account before a general one."""
        waiting = [account for account in offered if "clearing" in words_of(account.name)]
        own = words_of(self.source.name)
        return best_account(waiting, (*own, *CATEGORY_WORDS[self.source.category])) or (
            waiting[0].code if len(waiting) == 1 else ""
        )

    def pair(self, field: TargetField, option: str) -> str:
        if field.map_over == "tax":
            return best_tax(self.options.tax_rates, self.options.taxes.get(option, Decimal(0)))
        offered, said = self.options.accounts(field), words_of(option)
        special = [words for word, words in METHOD_WORDS.items() if word in said]
        return (best_account(offered, special[0]) if special else "") or self._clearing_of(offered, said)

    def _clearing_of(self, offered: Sequence[LedgerAccount], said: list[str]) -> str:
        """Where a payment method's money waits. A shop's foreign methods do not wait with its own payments."""
        waiting = [account for account in offered if "clearing" in words_of(account.name)]
        is_own = self.source.category == "payments" or set(said) & set(words_of(self.source.name))
        others = () if is_own else (*(word for word in said if word != "payments"), "other")
        return best_account(waiting, others) or self.clearing(offered)


def words_of(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def best_account(offered: Sequence[LedgerAccount], words: Sequence[str], never: Sequence[str] = ()) -> str:
    """The account whose name has the strongest of the words; of equals the shortest name. Empty: none has any."""
    ranked = []
    for account in offered:
        said = set(words_of(account.name))
        places = [place for place, word in enumerate(words) if word in said]
        if places and not said & set(never):
            ranked.append((places[0], len(said), account.code))
    return min(ranked)[2] if ranked else ""


def best_tax(offered: Sequence[TaxRate], rate: Decimal) -> str:
    """The sales tax with this very rate; for no tax, one that says so."""
    ranked = []
    for tax in offered:
        said = set(words_of(f"{tax.name} {tax.code}"))
        if tax.rate == rate and tax.is_for_sales and not tax.is_archived and not said & set(PURCHASE_WORDS):
            places = [place for place, word in enumerate(NO_TAX_WORDS) if word in said] if not rate else [0]
            ranked.append((places[0] if places else len(NO_TAX_WORDS), len(said), tax.code))
    return min(ranked)[2] if ranked else ""


def completed(chosen: Template, entries: Mapping[str, Any]) -> dict[str, Any]:
    """A whole spec: every field of the template with its entry, else its default, so that specs compare field by field."""
    return {"fields": {field.name: _whole(field, entries.get(field.name) or field.default) for field in chosen.fields}}


def _whole(field: TargetField, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Equal choices are written equally: no empty list of transforms, the write mode always said."""
    whole = {name: value for name, value in entry.items() if name != "steps" or value} or {"from": "nothing"}
    return {**whole, "write_mode": entry.get("write_mode", "overwrite")} if field.has_write_mode else whole
