"""How figures, dates and states read, for pages, messages and exports alike."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

from babel.numbers import get_currency_precision

NOTHING = "–"


@cache
def _minor_digits(currency: str) -> int:
    return get_currency_precision(currency) if currency else 2


def amount_text(amount: Decimal, currency: str) -> str:
    """The currency's usual decimals, or more when the amount has them: money is never rounded for show."""
    exponent = amount.normalize().as_tuple().exponent
    digits = -exponent if isinstance(exponent, int) else 0
    return f"{amount:,.{max(_minor_digits(currency), digits)}f}"


def money_text(amount: Decimal | None, currency: str) -> str:
    return NOTHING if amount is None else f"{currency} {amount_text(amount, currency)}".strip()


def number_text(count: int | float | Decimal | None) -> str:
    return NOTHING if count is None else f"{count:,}"


def percent_text(share: float | Decimal | None) -> str:
    """One decimal; neither "0.0%" for something nor "100.0%" for less than all."""
    if share is None:
        return NOTHING
    exact = Decimal(str(share)) * 100
    shown = exact.quantize(Decimal("0.1"), ROUND_HALF_UP)
    if exact < 100 <= shown:
        shown = Decimal("99.9")
    if shown <= 0 < exact:
        shown = Decimal("0.1")
    return f"{shown.normalize():f}%" if shown == shown.to_integral_value() else f"{shown}%"


def day_text(day: date | None) -> str:
    return NOTHING if day is None else f"{day.day} {day:%b %Y}"


@dataclass(frozen=True)
class Look:
    """How a state is shown. Colour follows from the tone and never stands without the icon and the word."""

    tone: str
    word: str
    icon: str = ""

    @property
    def symbol(self) -> str:
        return self.icon or self.tone


TONES = {
    "good": Look("good", "Done"),
    "warn": Look("warn", "Look at this"),
    "bad": Look("bad", "Problem"),
    "info": Look("info", "Note"),
    "quiet": Look("quiet", "None"),
}

LOOKS = {
    **TONES,
    # connections and consents
    "connected": Look("good", "Connected"),
    "needs_reconnect": Look("bad", "Needs reconnecting"),
    "disconnected": Look("quiet", "Disconnected"),
    "agreed": Look("info", "Agreed on our page", "check"),
    "granted": Look("good", "Granted at the provider"),
    "denied": Look("warn", "Denied at the provider"),
    "revoked": Look("quiet", "Ended"),
    "production": Look("quiet", "Production", "flag"),
    # flows
    "set_up": Look("quiet", "Set-up", "clock"),
    "sandbox": Look("info", "Sandbox", "shadow"),
    "pilot": Look("info", "Pilot", "flag"),
    "parallel": Look("info", "Parallel", "truth"),
    "live": Look("good", "Live"),
    "paused": Look("warn", "Paused", "pause"),
    # runs
    "running": Look("info", "Running", "runs"),
    "done": Look("good", "Done"),
    "stopped": Look("bad", "Stopped"),
    # what became of a record
    "pending": Look("info", "On its way", "clock"),
    "planned": Look("info", "Planned", "clock"),
    "sending": Look("info", "Sending", "up"),
    "shadow": Look("quiet", "Compared only", "shadow"),
    "posted": Look("good", "Posted"),
    "settled": Look("good", "Settled"),
    "linked": Look("good", "Linked", "link"),
    "held": Look("warn", "Held", "pause"),
    "uncertain": Look("warn", "Unconfirmed"),
    "failed": Look("bad", "Failed"),
    "rejected": Look("bad", "Rejected"),
    "excluded": Look("quiet", "Excluded"),
    "reversed": Look("quiet", "Reversed", "undo"),
    "withdrawn": Look("quiet", "Withdrawn", "undo"),
    # what is taken back
    "planning": Look("info", "Being planned", "clock"),
    "discarded": Look("quiet", "Discarded", "undo"),
    "due": Look("info", "Waits its turn", "clock"),
    "void": Look("info", "Take back", "undo"),
    "entry": Look("info", "Entry against it", "up"),
    "nothing": Look("quiet", "Gone already"),
    "keep": Look("warn", "Stays", "pause"),
    # issues and discrepancies
    "open": Look("warn", "Open"),
    "resolved": Look("good", "Resolved"),
    "ours_right": Look("good", "Ours is right"),
    "theirs_right": Look("good", "Theirs is right"),
    "accepted": Look("good", "Accepted difference"),
    # quality tiers
    "bronze": Look("quiet", "Bronze", "audit"),
    "silver": Look("quiet", "Silver", "audit"),
    "gold": Look("info", "Gold", "audit"),
    # verdicts of comparing with staff's entries
    "match": Look("good", "Match"),
    "amount": Look("bad", "Different amount"),
    "tax": Look("bad", "Different tax"),
    "date": Look("warn", "Different date"),
    "ledger_account": Look("bad", "Different ledger account"),
    "currency": Look("bad", "Different currency"),
    "party": Look("warn", "Different customer"),
    "timing": Look("warn", "Booked in another period"),
    "missing_in_ours": Look("bad", "Missing in ours"),
    "missing_in_theirs": Look("bad", "Missing in theirs"),
    "duplicate_in_theirs": Look("bad", "Entered twice by staff"),
}


def look_of(state: str, word: str = "") -> Look:
    """An unknown state is shown plainly, by its own word, and claims no proof."""
    look = LOOKS.get(state) or Look("quiet", state.replace("_", " ").capitalize())
    return Look(look.tone, word or look.word, look.icon)


STAIRCASE = (
    ("set_up", "Set-up"),
    ("sandbox", "Sandbox"),
    ("pilot", "Pilot"),
    ("parallel", "Parallel"),
    ("live", "Live"),
)


#: Errors of ours that are sentences for people; anything else is named by what failed and kept for support.
_SENTENCE = re.compile(
    r"^(?:Unable\w*|ConnectionError|\w+Required|RateLimited|TransientError)\((['\"])(.*?)\1", re.DOTALL
)


def problem_words(problem: str) -> str:
    """The sentence in an error of ours as the queue notes it; errors nobody meant for people stay out of pages."""
    found = _SENTENCE.match(problem)
    if found is None:
        return "Something went wrong on our side. It is tried again by itself; nothing is lost."
    sentence = found[2]
    return f"{sentence[:1].upper()}{sentence[1:]}{'' if sentence.endswith(('.', '!', '?')) else '.'}"


def all_of(parts: Sequence[str]) -> str:
    """Such as "orders, refunds and payouts"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
