"""What the pages say: each step, what it does and leaves, the edge cases' results and the differences, in a bookkeeper's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.formatting import day_text, money_text, number_text
from marketplace.cutover.operations import USUAL_CHOICES
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.templates import template


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step as its page announces it: what it does, what it writes in the ledger, who may take it, and its button."""

    does: str
    writes: str
    who: str
    button: str


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a move does and what it leaves, line by line."""

    happens: Sequence[str]
    stays: Sequence[str]


BOOKKEEPERS = "A bookkeeper, an admin or the owner."
APPROVER = "The owner or an admin, who approves it by name."
#: Why a case, or a record, is not posted.
REFUSALS = {
    "account_currency": "the chosen ledger account is kept in another currency",
    "adjustment": "it carries an adjustment nobody has mapped",
    "archived": "it is archived",
    "archived_account": "the chosen ledger account is archived",
    "cancelled": "it was cancelled",
    "closed_period": "it falls into closed books",
    "does_not_add_up": "its lines do not make its total",
    "failed": "it failed",
    "no_lines": "it has no lines",
    "no_name": "it has no name",
    "not_computed": "the field mapping gives no result for it",
    "not_paid_yet": "the money is still on its way",
    "not_won": "it is not won yet",
    "payout_does_not_add_up": "gross less fees and refunds is not what was deposited",
    "split_repayment": "it was repaid in several ways",
    "test": "it is a test",
    "unmapped": "it uses something the mapping does not know",
    "unpaid": "it is not paid yet",
    "zero": "its amount is zero",
}
FIGURES = (
    ("currency", "Currency"),
    ("total", "Total"),
    ("tax", "Tax"),
    ("tax rate", "Tax rate"),
    ("paid", "Paid"),
    ("documents", "Documents"),
)
CHOICES = {
    "closed_period": {
        "hold": "Hold it for a person",
        "next_open": "Date it on the first open day",
    },
    "pilot_documents": {
        "drafts": "As drafts, where the ledger has drafts",
        "final": "As final documents with their payments",
    },
}


def ledger_name(flow: Flow) -> str:
    return connector(flow.target.connector).manifest.name


def source_name(flow: Flow) -> str:
    return connector(flow.source.connector).manifest.name


def source_words(flow: Flow) -> str:
    """The records this flow moves, in the plural: orders, refunds, payouts."""
    return DATA_TYPE_NAMES[template(flow.template).source_type][1]


def document_words(flow: Flow) -> str:
    names = [DATA_TYPE_NAMES[name][1] for name in template(flow.template).needs]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def has_drafts(flow: Flow) -> bool:
    return bool(connector(flow.target.connector).manifest.has_drafts)


def writes_drafts(flow: Flow) -> bool:
    return has_drafts(flow) and choice_of(flow, "pilot_documents") == "drafts"


def choice_of(flow: Flow, name: str) -> str:
    return str(flow.settings.get(name, USUAL_CHOICES[name]))


def choice_words(flow: Flow, name: str) -> str:
    return CHOICES[name][choice_of(flow, name)]


def step_of(flow: Flow, stage: str) -> Step:
    """The step `stage` of this flow."""
    ledger, records = ledger_name(flow), source_words(flow)
    drafts = " as drafts" if writes_drafts(flow) else ""
    return {
        Stage.SANDBOX: Step(
            does=f"Invented {records}, one for each edge case, are posted to a simulated {ledger} with your own accounts and taxes.",
            writes=f"Nothing in your {ledger}.",
            who=BOOKKEEPERS,
            button="Go to the sandbox",
        ),
        Stage.PILOT: Step(
            does=f"Real {records} are posted, but only those in the pilot's scope.",
            writes=f"Their {document_words(flow)} in {ledger}{drafts}.",
            who=BOOKKEEPERS,
            button="Start the pilot",
        ),
        Stage.PARALLEL: Step(
            does=f"Every entry is worked out and compared with what your staff enter in {ledger}.",
            writes=f"Nothing. Your staff go on entering {records} by hand.",
            who=BOOKKEEPERS,
            button="Start comparing",
        ),
        Stage.LIVE: Step(
            does=f"From then on {records} are posted by themselves. What staff entered is linked, so nothing is there twice.",
            writes=f"Every new {DATA_TYPE_NAMES[template(flow.template).source_type][0]}: {document_words(flow)} in {ledger}.",
            who=APPROVER,
            button="Look at the approval",
        ),
    }[Stage(stage)]


def forward_effect(flow: Flow, to_stage: str, *, waiting: int) -> Effect:
    """What a step forward does before it is confirmed."""
    ledger, records = ledger_name(flow), source_words(flow)
    step = step_of(flow, to_stage)
    stays = {
        Stage.SANDBOX: [f"Your {ledger} and everything in it.", "The field mapping; you can change it at any time."],
        Stage.PILOT: [
            f"All {records} outside the pilot's scope: staff go on entering them.",
            "The way back to the sandbox.",
        ],
        Stage.PARALLEL: [
            f"What the pilot posted stays in {ledger} and is not compared.",
            "The way back to the pilot.",
        ],
    }[Stage(to_stage)]
    happens = [step.does, _written(step)]
    if to_stage == Stage.PARALLEL and waiting:
        happens.append(f"{number_text(waiting)} entries planned for the pilot and not sent yet are withdrawn.")
    return Effect(happens=happens, stays=stays)


def _written(step: Step) -> str:
    return f"Written: {step.writes[0].lower()}{step.writes[1:]}"


def back_effect(flow: Flow, to_stage: str, *, waiting: int, in_ledger: int) -> Effect:
    """What a step back does before it is confirmed."""
    ledger = ledger_name(flow)
    happens = [_what_ends(flow)]
    if waiting:
        happens.append(f"{number_text(waiting)} entries that are worked out and not in {ledger} yet are withdrawn.")
    if flow.stage == Stage.PARALLEL:
        happens.append("The comparison and its decisions are cleared; the audit trail keeps who decided what.")
    if flow.stage == Stage.LIVE:
        happens.append("A new comparison begins with the period you choose.")
    stays = (
        [f"{number_text(in_ledger)} entries stay in {ledger} until you plan to take them back."] if in_ledger else []
    )
    if flow.stage == Stage.SANDBOX:
        stays.append("The cases you have run, with their results.")
    return Effect(happens=happens, stays=[*stays, "The field mapping, its versions, the scope and all records."])


def _what_ends(flow: Flow) -> str:
    records, ledger = source_words(flow), ledger_name(flow)
    return {
        Stage.SANDBOX: "The flow waits for its set-up again.",
        Stage.PILOT: f"No more {records} are posted to {ledger}.",
        Stage.PARALLEL: f"Comparing ends. The pilot posts the {records} in its scope again.",
        Stage.LIVE: f"No more {records} are posted to {ledger}. Staff enter them by hand again and each is compared.",
    }[Stage(flow.stage)]


def result_words(result: Mapping[str, Any], *, is_contact: bool) -> str:
    """What came out of an edge case, or should have, as a sentence."""
    if "not posted because" in result:
        code = result["not posted because"]
        return f"Not posted: {REFUSALS.get(code, code.replace('_', ' '))}."
    if "problem" in result:
        return str(result["problem"])
    count = result.get("documents", 0)
    noun = "contact" if is_contact else "document"
    words = f"{number_text(count)} {noun}{'' if count == 1 else 's'}"
    currency = str(result.get("currency", ""))
    if "total" in result:
        words += f" of {money_text(Decimal(result['total']), currency)}"
        if Decimal(result["tax"]):
            rate = f" at {result['tax rate']}" if "tax rate" in result else ""
            words += f" including {money_text(Decimal(result['tax']), currency)} tax{rate}"
    if "paid" in result:
        words += f", {money_text(Decimal(result['paid']), currency)} paid"
    return f"{words}."


def result_rows(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Expected and found figure by figure; nothing to compare when either side is a refusal."""
    if "documents" not in expected or "documents" not in found:
        return []
    return [(label, expected[name], found.get(name)) for name, label in FIGURES if name in expected]


def difference_lines(
    differences: Sequence[Mapping[str, str]], currency: str, ledger: str, accounts: Mapping[str, str]
) -> list[str]:
    """A line for every field that differs; `accounts` names the ledger's accounts by their codes."""
    return [
        f"{one['field']}: {_shown(one, 'ours', currency, accounts)} here, {_shown(one, 'theirs', currency, accounts)} in {ledger}"
        for one in differences
    ]


def accounts_text(codes: str, accounts: Mapping[str, str]) -> str:
    """Codes as a record keeps them, in the ledger's own names."""
    return ", ".join(accounts.get(code, code) for code in codes.split())


def _shown(difference: Mapping[str, str], side: str, currency: str, accounts: Mapping[str, str]) -> str:
    value = difference[side]
    if difference["field"] == "Ledger accounts":
        value = accounts_text(value, accounts)
    if difference["field"] in ("Amount", "Tax"):
        return money_text(Decimal(value), currency)
    if difference["field"] == "Date":
        return day_text(date.fromisoformat(value))
    return value or "nothing"


def moneys_text(moneys: Mapping[str, Decimal]) -> str:
    """Sums per currency as one phrase."""
    return (
        " and ".join(money_text(amount, currency) for currency, amount in sorted(moneys.items()) if amount) or "nothing"
    )


def type_totals_text(totals: Mapping[str, tuple[int, Mapping[str, Decimal]]]) -> str:
    """Counts and sums by data type as one phrase: 3 invoices of GBP 36.00 and 3 customer payments of GBP 36.00."""
    parts = []
    for data_type, (count, moneys) in sorted(totals.items(), key=lambda item: list(DATA_TYPE_NAMES).index(item[0])):
        singular, plural = DATA_TYPE_NAMES[data_type]
        amount = f" of {moneys_text(moneys)}" if any(moneys.values()) else ""
        parts.append(f"{number_text(count)} {singular if count == 1 else plural}{amount}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def period_words(flow: Flow) -> str:
    if flow.parallel_from is None or flow.parallel_until is None:
        return "no period yet"
    return f"{day_text(flow.parallel_from)} to {day_text(flow.parallel_until)}"
