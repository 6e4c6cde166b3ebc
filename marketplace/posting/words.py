"""How outcomes and documents are called in lists; each record's own sentence says the details."""

from __future__ import annotations

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.posting.models import Conflict, Posting

#: reason code -> what is common to all records held for it. Completes "12 records: ...".
REASONS: dict[str, str] = {
    "unmapped": "a value has no choice in the field mapping yet",
    "not_computed": "a mapped value cannot be worked out",
    "does_not_add_up": "the lines do not add up to the total",
    "archived_account": "a ledger account is no longer active",
    "account_currency": "a ledger account is kept in another currency",
    "closed_period": "dated in a closed period",
    "payout_does_not_add_up": "the payout does not add up",
    "adjustment": "the payout holds money that is neither a sale nor a refund",
    "split_repayment": "the repayment came from several accounts",
    "no_lines": "nothing to invoice",
    "no_name": "the customer has no name",
    "contact_gone": "the contact is gone on the other side",
    "several_contacts": "several contacts look alike",
    "conflict": "both sides changed the same field",
    "changed_after_posting": "changed at the source after posting",
    "catch_up": "staff never entered it while both ran side by side",
    "unconfirmed": "the ledger never confirmed it, and looking it up does not tell",
    "entered_twice": "the ledger has it twice",
    "total_differs": "the ledger's total differs from ours",
    "missing_reference": "the mapping names something the ledger does not have",
    "amount": "the ledger refused the amounts",
    "duplicate": "the ledger has an entry with this number",
    "stale": "the entry was changed in the ledger meanwhile",
    "being_taken_back": "being taken back from the ledger",
    "taken_back": "taken back from the ledger",
    "taken_back_in_part": "taken back in part; the rest is in the ledger",
    "not_taken_back": "to be taken back, but still in the ledger",
    "other": "refused by the ledger",
}
#: Reasons a change of the field mapping can clear.
MAPPING_REASONS = (
    "unmapped",
    "not_computed",
    "archived_account",
    "account_currency",
    "missing_reference",
    "amount",
    "duplicate",
)


def reason_words(code: str) -> str:
    """A reason nobody has named here is shown by its code, in words."""
    return REASONS.get(code) or code.replace("_", " ") or "held"


def document_words(posting: Posting) -> str:
    """Such as "Invoice 1001"; a document without a number goes by its reference."""
    name = DATA_TYPE_NAMES[posting.data_type][0]
    return f"{name.capitalize()} {posting.external_number or posting.number or posting.reference}".strip()


def winner_words(conflict: Conflict) -> str:
    """Such as "Xero: the newest change wins"; a person is named."""
    side = conflict.flow.source if conflict.winner == Conflict.Winner.SOURCE else conflict.flow.target
    name = connector(side.connector).manifest.name
    if conflict.decided_by is not None:
        return f"{name}, chosen by {conflict.decided_by}"
    rule = conflict.get_rule_display()
    return f"{name}: {rule[:1].lower()}{rule[1:]}"
