"""What runs at this moment, in words, with its progress."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.clock import now
from marketplace.core.formatting import all_of, problem_words
from marketplace.core.models import WorkItem
from marketplace.installations.queries import connection_name
from marketplace.mapping.models import Flow
from marketplace.mapping.templates import template
from marketplace.posting.decisions import WAITING
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.queries import planned_shares
from marketplace.sync.models import SyncRun
from tenants.models import Tenant

ON_THE_WAY = (Posting.State.PLANNED, Posting.State.SENDING, Posting.State.UNCERTAIN)
#: What each kind of work is called when it keeps failing.
WORK_WORDS = {
    "sync": "Reading",
    "events": "Following what webhooks told",
    "plan": "Working out what to post",
    "post": "Writing to the ledger",
    "look_again": "Looking for entries that arrived twice",
    "pair": "Comparing with staff's entries",
    "rehearse": "Rehearsing the sandbox cases",
    "reverse": "Planning what to take back",
    "subscribe": "Asking the provider to tell us of changes",
    "revoke": "Ending an authorisation at the provider",
    "shared": "Forgetting an authorisation",
    "summary": "Counting what waits",
}


@dataclass(frozen=True)
class Reading:
    """A run that is not over."""

    run: SyncRun

    @property
    def what(self) -> str:
        return f"{DATA_TYPE_NAMES[self.run.data_type][1]} read"


@dataclass(frozen=True)
class Planning:
    """Records of one flow being worked out: how many are, of how many."""

    flow: Flow
    done: int
    total: int

    @property
    def what(self) -> str:
        return f"{DATA_TYPE_NAMES[template(self.flow.template).source_type][1]} worked out"


@dataclass(frozen=True)
class Delay:
    """Reads of one system that could not go on; they are tried again by themselves."""

    system: str
    words: str
    lists: int


@dataclass(frozen=True)
class Writing:
    """Documents under way to one ledger."""

    ledger: str
    waiting: int
    sent: int


@dataclass(frozen=True)
class Trouble:
    """Work that fails and is tried again."""

    what: str
    words: str
    attempts: int
    due_at: dt.datetime


@dataclass(frozen=True)
class Activity:
    """Everything under way for this business."""

    reading: Sequence[Reading]
    planning: Sequence[Planning]
    writing: Sequence[Writing]
    delays: Sequence[Delay]
    troubles: Sequence[Trouble]

    @property
    def is_busy(self) -> bool:
        return bool(self.reading or self.planning or self.writing or self.delays)


def activity_of(owner: Tenant) -> Activity:
    running = list(
        SyncRun.objects.filter(state=SyncRun.State.RUNNING).select_related("connection").order_by("started_at")
    )
    reading = [Reading(run) for run in running if not run.problem]
    work = list(WorkItem.objects.filter(tenant=owner).exclude(~Q(kind="plan"), problem="").order_by("due_at", "id"))
    return Activity(reading, _planning(work), _writing(), _delays(running), _troubles(work))


def _planning(work: Sequence[WorkItem]) -> list[Planning]:
    ids = [item.key for item in work if item.kind == "plan" and not item.problem and item.due_at <= now()]
    if not ids:
        return []
    flows = list(Flow.objects.filter(pk__in=ids).order_by("created_at"))
    shares = planned_shares(flows)
    return [Planning(flow, *shares[flow.pk]) for flow in flows]


def _delays(running: Sequence[SyncRun]) -> list[Delay]:
    counts = Counter((connection_name(run.connection), run.problem) for run in running if run.problem)
    return [Delay(system, words, lists) for (system, words), lists in counts.items()]


def _writing() -> list[Writing]:
    """What waits for a person is not on the way."""
    waiting = RecordOutcome.objects.filter(
        flow_id=OuterRef("flow_id"), record_id=OuterRef("record_id"), state__in=WAITING
    )
    rows = (
        Posting.objects.filter(~Exists(waiting), state__in=ON_THE_WAY, flow__is_paused=False)
        .values("flow__target__connector", "flow__target__organisation_name")
        .annotate(waiting=Count("id"), sent=Count("id", filter=~Q(state=Posting.State.PLANNED)))
        .order_by("flow__target__organisation_name")
    )
    return [
        Writing(connector(row["flow__target__connector"]).manifest.name, row["waiting"], row["sent"]) for row in rows
    ]


def _troubles(work: Sequence[WorkItem]) -> list[Trouble]:
    """Work that fails for the same reason is one trouble."""
    alike: dict[str, list[WorkItem]] = {}
    for item in work:
        if item.problem:
            alike.setdefault(problem_words(item.problem), []).append(item)
    return [
        Trouble(_whats(items), words, max(item.attempts for item in items), items[0].due_at)
        for words, items in alike.items()
    ]


def _whats(items: Sequence[WorkItem]) -> str:
    """Each kind of work once; several lists that are read are named together."""
    kinds = list(dict.fromkeys(WORK_WORDS.get(item.kind, item.kind) for item in items))
    lists = [item.key.rpartition(":")[2] for item in items if item.kind == "sync"]
    named = all_of([DATA_TYPE_NAMES[name][1] for name in dict.fromkeys(lists) if name in DATA_TYPE_NAMES])
    return ", ".join(f"{words} {named}".strip() if words == WORK_WORDS["sync"] else words for words in kinds)
