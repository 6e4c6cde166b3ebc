"""A reversal as its page shows it: counts, totals, the effect on the ledger accounts, and its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, QuerySet, Sum

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.formatting import money_text, number_text, problem_words
from marketplace.core.models import WorkItem
from marketplace.core.progress import Progress as Share
from marketplace.core.progress import progress_of_work
from marketplace.installations.models import Connection
from marketplace.posting.models import Posting, Reversal, ReversalLine
from marketplace.posting.reversal_planning import OPEN
from tenants.context import current_tenant

Action, State = ReversalLine.Action, ReversalLine.State
#: What the lines are filtered by: the word in the address, its label, and which lines it means.
SHOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "void": ("Taken back", {"action": Action.VOID}),
    "entry": ("Entry against it", {"action": Action.ENTRY}),
    "nothing": ("Gone already", {"action": Action.NOTHING}),
    "stays": ("Stays", {}),
}


@dataclass(frozen=True)
class Total:
    """Entries of one kind with which the same is done, in one currency."""

    action: str
    words: str
    count: int
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Effect:
    """One ledger account: what these entries book on it, what the reversal takes off, what is left."""

    account: str
    currency: str
    before: Decimal
    reversal: Decimal
    after: Decimal


def reversals() -> QuerySet[Reversal]:
    related = Reversal.objects.select_related("flow__target", "connection", "asked_by", "confirmed_by")
    return related.order_by("-asked_at")


def reversal_line_of(posting: Posting) -> ReversalLine | None:
    """What the last confirmed reversal had to do with one entry."""
    lines = ReversalLine.objects.filter(posting=posting, reversal__confirmed_at__isnull=False)
    return lines.select_related("reversal", "entry").order_by("-reversal__confirmed_at").first()


def ledger_of_reversal(reversal: Reversal) -> str:
    return connector(reversal.connection.connector).manifest.name


def effect_rows(reversal: Reversal) -> list[Effect]:
    return [
        Effect(row["account"], row["currency"], Decimal(row["before"]), Decimal(row["reversal"]), Decimal(row["after"]))
        for row in reversal.effect
    ]


def totals(reversal: Reversal) -> list[Total]:
    """By what is done and by kind of document; contacts have no money."""
    order = [Action.VOID, Action.ENTRY, Action.NOTHING, Action.KEEP]
    return sorted(_totals(reversal.lines.all(), "action"), key=lambda total: order.index(Action(total.action)))


def _totals(lines: QuerySet[ReversalLine], by: str) -> list[Total]:
    """`action` of each is what it was grouped by."""
    rows = (
        lines.values(by, "posting__data_type", "posting__currency", "phase")
        .annotate(count=Count("id"), amount=Sum("posting__amount"))
        .order_by(by, "phase", "posting__currency")
    )
    return [
        Total(row[by], _kind(row["posting__data_type"], row["count"]), row["count"], row["amount"], row["posting__currency"])
        for row in rows
    ]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a reversal that ended took back and what it left, as phrases; `rest` is how many entries could be tried again."""

    gone: list[str]
    left: list[str]
    rest: int


def result_of(reversal: Reversal) -> Result:
    found = _totals(reversal.lines.filter(state__in=[State.DONE, State.HELD]), "state")
    rest = reversal.lines.filter(state=State.HELD, posting__state=Posting.State.POSTED).exclude(
        posting__data_type="customer"
    )
    return Result(
        [_phrase(one) for one in found if one.action == State.DONE],
        [_phrase(one) for one in found if one.action == State.HELD],
        rest.count(),
    )


def _phrase(total: Total) -> str:
    return f"{number_text(total.count)} {total.words}{_money(total)}"


def _kind(data_type: str, count: int) -> str:
    return DATA_TYPE_NAMES[data_type][0 if count == 1 else 1]


def problem_of(reversal: Reversal) -> str:
    """What keeps a confirmed reversal from going on; empty when nothing does."""
    if reversal.connection.state != Connection.State.CONNECTED:
        return f"{reversal.connection} needs reconnecting. It goes on by itself after that."
    work = WorkItem.objects.filter(tenant_id=current_tenant().pk, kind="post", key=str(reversal.connection_id))
    told = "".join(work.values_list("problem", flat=True))
    return problem_words(told) if told else ""


@dataclass(frozen=True)
class Progress:
    done: int
    held: int
    under_way: int
    total: int

    @property
    def finished(self) -> int:
        return self.done + self.held


def reading_of(reversal: Reversal) -> Share | None:
    """How many entries were read for the plan, of how many; None until the first answer."""
    return progress_of_work(tenant_id=current_tenant().pk, kind="reverse", key=str(reversal.pk))


def progress_of(reversal: Reversal) -> Progress:
    """Of the lines the plan had something to do with."""
    counts = dict(
        reversal.lines.exclude(action=Action.KEEP).values_list("state").annotate(Count("id")).values_list("state", "id__count")
    )  # fmt: skip
    under_way = sum(counts.get(state, 0) for state in OPEN)
    return Progress(counts.get(State.DONE, 0), counts.get(State.HELD, 0), under_way, sum(counts.values()))


def shown_counts(reversal: Reversal) -> list[tuple[str, str, int]]:
    """Each choice of the filter with how many lines it shows; those without any are left out."""
    counts = [(name, label, lines_of(reversal, name).count()) for name, (label, _) in SHOWN.items()]
    return [one for one in counts if one[2]]


def lines_of(reversal: Reversal, shown: str = "") -> QuerySet[ReversalLine]:
    """In the order in which they are taken back."""
    lines = reversal.lines.select_related("posting__record", "entry").order_by("phase", "id")
    if shown == "stays":
        return lines.filter(state=State.HELD) | lines.filter(action=Action.KEEP)
    if shown in SHOWN:
        return lines.filter(**SHOWN[shown][1]).exclude(state=State.HELD)
    return lines


def happens(reversal: Reversal, found: Sequence[Total]) -> list[str]:
    """What confirming sets going, as sentences."""
    ledger = ledger_of_reversal(reversal)
    closed = "because the period is closed"
    words = {
        Action.VOID: (f"is taken back in {ledger}", f"are taken back in {ledger}"),
        Action.ENTRY: (f"is undone by an entry against it, {closed}", f"are undone by entries against them, {closed}"),
        Action.NOTHING: (
            f"is gone from {ledger} already: only noted here",
            f"are gone from {ledger} already: only noted here",
        ),
    }
    return [
        f"{_phrase(one)} {words[Action(one.action)][one.count != 1]}." for one in found if one.action != Action.KEEP
    ]


def _money(total: Total) -> str:
    return f" of {money_text(total.amount, total.currency)}" if total.amount else ""
