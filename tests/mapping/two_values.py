"""Two sides of one contact, the shop's and the ledger's, for the tests of the merge: mostly of their telephone number."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any, Literal

from marketplace.mapping.contact_values import FIELDS
from marketplace.mapping.merging import Answer, Base, Look, Rules, Way, confirm, meet

NOW = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
ATTEMPTS = itertools.count(1)
OLD, NEW, OTHER, THEIRS = "020 7946 0001", "020 7946 0222", "020 7946 0333", "020 7946 0444"


def texts(phone: str, **more: str) -> dict[str, str]:
    return dict.fromkeys(FIELDS, "") | {"name": "Ada Hart", "phone": phone} | more


def seen(shop: str, ledger: str, **more: Any) -> Look:
    """Both sides as they stand, looked at from the shop; each mapping hands on what is there."""
    ours, theirs = texts(shop), texts(ledger)
    given: dict[str, Any] = {
        "there": Way(source="shop", sent=ours, held=theirs),
        "back": Way(source="ledger", sent=theirs, held=ours),
        "rules": Rules(),
        "source_at": NOW,
        "target_at": NOW,
        "now": NOW,
    }
    return Look(**(given | more))


def turned(look: Look, **more: Any) -> Look:
    """The same moment, looked at from the ledger."""
    owner: Literal["source", "target"] = "target" if look.rules.owner == "source" else "source"
    rules = Rules(rule=look.rules.rule, owner=owner, modes=look.rules.modes)
    given: dict[str, Any] = {
        "there": look.back,
        "back": look.there,
        "rules": rules,
        "source_at": NOW,
        "target_at": NOW,
        "now": NOW,
    }
    return Look(**(given | more))


def agreed(phone: str = OLD) -> Base:
    base = Base()
    meet(base, seen(phone, phone))
    return base


def carried(base: Base, look: Look) -> list[str]:
    return meet(base, look).carried


def give_up(base: Base, side: str, *, at: dt.datetime = NOW, attempt: str = "", **sent: str) -> None:
    """What was sent to this side had no answer and is not to be seen there."""
    base.note_late(side, sent, at, attempt=attempt or f"{next(ATTEMPTS)}.1")


def written(base: Base, look: Look, phone: str) -> None:
    """The ledger took what the shop sent."""
    after = seen(look.back.held["phone"], phone)
    confirm(base, Answer(sent={"phone": phone}, held=texts(phone), there=after.there, back=after.back), NOW)


def own_way(sent: str, held: str) -> Look:
    """A tax number that the ledger spells so that nobody would know it again."""
    ours, theirs = texts(OLD, tax_number=sent), texts(OLD, tax_number=held)
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    return seen(OLD, OLD, there=there, back=back, rules=Rules(rule="ask"))
