"""The gate before every step: conditions with what was found, what is wanted, and the sentence a person reads."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce

from connectors.registry import connector
from marketplace.cutover.models import Pair, SandboxCase, Verdict
from marketplace.cutover.rehearsal import cases_for
from marketplace.installations.models import Connection
from marketplace.mapping.compiling import MappingError, planner_for
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.mapping.templates import template
from marketplace.posting.models import RecordOutcome
from marketplace.posting.proof import proof_of
from marketplace.sync.models import Record, StreamState

DEFAULT_TARGETS = {"pilot_count": 5, "parallel_days": 14, "count_rate": "0.98", "money_rate": "0.98"}
#: Open pairs with these verdicts stop a go-live: money would be wrong or booked twice.
CRITICAL = (
    Verdict.AMOUNT,
    Verdict.CURRENCY,
    Verdict.TAX,
    Verdict.MISSING_IN_OURS,
    Verdict.MISSING_IN_THEIRS,
    Verdict.DUPLICATE_IN_THEIRS,
)
AGREEING = (Verdict.MATCH, Verdict.TIMING, Verdict.DATE, Verdict.PARTY, Verdict.LEDGER_ACCOUNT)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing the next step needs. `found` and `wanted` are for the checklist, `missing` says what to do about it."""

    name: str
    is_met: bool
    found: str = ""
    wanted: str = ""
    missing: str = ""
    url_name: str = ""  # where to do it


@dataclass(frozen=True)
class MatchRate:
    """Of what was compared: the share of pairs, and of money per currency, on which both sides agree about the money."""

    pairs: int
    agreeing: int
    money: dict[str, tuple[Decimal, Decimal]]  # currency -> (compared, agreeing)

    @property
    def by_count(self) -> Decimal:
        return Decimal(self.agreeing) / self.pairs if self.pairs else Decimal(0)

    @property
    def by_money(self) -> Decimal:
        """The worst currency's share."""
        shares = [agreeing / compared for compared, agreeing in self.money.values() if compared]
        return min(shares, default=Decimal(0))


def conditions(flow: Flow, today: dt.date) -> list[Condition]:
    """What the next step forward needs, met or not; nothing for a flow that is live."""
    check = {
        Stage.SET_UP: _before_sandbox,
        Stage.SANDBOX: _before_pilot,
        Stage.PILOT: _before_parallel,
        Stage.PARALLEL: _before_live,
    }.get(Stage(flow.stage))
    return check(flow, today) if check else []


#: Both sides agree about the money, or a person decided that our side is right or the difference may stand.
IS_AGREED = Q(verdict__in=AGREEING) | Q(resolution__in=[Pair.Resolution.OURS_RIGHT, Pair.Resolution.ACCEPTED])


def match_rate(flow: Flow) -> MatchRate:
    """How far shadow postings and staff's entries agree."""
    money = Coalesce(F("posting__amount"), F("money"))
    rows = (
        Pair.objects.filter(flow=flow)
        .values("currency")
        .annotate(
            pairs=Count("id"),
            agreeing=Count("id", filter=IS_AGREED),
            compared=Sum(money),
            agreeing_money=Sum(money, filter=IS_AGREED),
        )
    )
    return MatchRate(
        sum(row["pairs"] for row in rows),
        sum(row["agreeing"] for row in rows),
        {row["currency"]: (row["compared"] or Decimal(0), row["agreeing_money"] or Decimal(0)) for row in rows},
    )


def target_of(flow: Flow, name: str) -> Decimal:
    """An agreed figure, or the usual one."""
    return Decimal(str(flow.targets.get(name, DEFAULT_TARGETS[name])))


def _before_sandbox(flow: Flow, today: dt.date) -> list[Condition]:
    return [*_connected(flow), _compiles(flow), _truth_decided(flow), _lists_read(flow)]


def _before_pilot(flow: Flow, today: dt.date) -> list[Condition]:
    results = SandboxCase.objects.filter(flow=flow, mapping=flow.mapping)
    passed = results.filter(has_passed=True).count()
    wanted = len(cases_for(flow))
    return [
        *_connected(flow),
        _compiles(flow),
        Condition(
            name="Every edge case passes with this mapping",
            is_met=passed == wanted,
            found=f"{passed} passed, {results.filter(has_passed=False).count()} failed",
            wanted=f"{wanted} of {wanted}",
            missing="Run the sandbox cases; where one fails, correct the field mapping and run them again.",
            url_name="sandbox",
        ),
        _source_read(flow),
        Condition(
            name="The pilot's scope is chosen",
            is_met=bool(flow.scope),
            found=f"{len(flow.scope)} conditions",
            wanted="at least one",
            missing="Say which records the pilot is about: a country, a channel, a few days.",
            url_name="scope",
        ),
    ]


def _before_parallel(flow: Flow, today: dt.date) -> list[Condition]:
    outcomes = RecordOutcome.objects.filter(flow=flow, stage=Stage.PILOT)
    posted = outcomes.filter(state=RecordOutcome.State.POSTED).count()
    waiting = outcomes.filter(state__in=[RecordOutcome.State.HELD, RecordOutcome.State.FAILED]).count()
    wanted = int(target_of(flow, "pilot_count"))
    return [
        *_connected(flow),
        Condition(
            name="Enough of the pilot has been posted",
            is_met=posted >= wanted,
            found=f"{posted} posted",
            wanted=f"at least {wanted}",
            missing="Wait for more records in the pilot's scope, or widen the scope.",
            url_name="scope",
        ),
        Condition(
            name="Nothing of the pilot waits for a person",
            is_met=waiting == 0,
            found=f"{waiting} waiting",
            wanted="0",
            missing="Clear what needs attention.",
            url_name="issues",
        ),
    ]


def _before_live(flow: Flow, today: dt.date) -> list[Condition]:
    return [
        *_connected(flow),
        *_period(flow, today),
        _everything_planned(flow),
        *_rates(flow),
        _no_open_critical(flow),
    ]


def _rates(flow: Flow) -> list[Condition]:
    """Contacts carry no money and those that exist are recognised beforehand: for them only open differences count."""
    if template(flow.template).main_type == "customer":
        return []
    rate = match_rate(flow)
    return [
        _rate(
            "Postings and entries agree, by count", rate.by_count if rate.pairs else None, target_of(flow, "count_rate")
        ),
        _rate(
            "Postings and entries agree, by money", rate.by_money if rate.pairs else None, target_of(flow, "money_rate")
        ),
    ]


def _connected(flow: Flow) -> list[Condition]:
    return [
        Condition(
            name=f"{connector(side.connector).manifest.name} is connected",
            is_met=side.state == Connection.State.CONNECTED,
            found=side.get_state_display(),
            wanted="Connected",
            missing=side.problem or "Connect it again.",
            url_name="connections",
        )
        for side in (flow.source, flow.target)
    ]


def _compiles(flow: Flow) -> Condition:
    missing = "Save the field mapping."
    try:
        if flow.mapping is not None:
            planner_for(flow.template, flow.mapping)
            missing = ""
    except MappingError as error:
        missing = str(error)
    return Condition(
        name="The field mapping is complete",
        is_met=not missing,
        found=str(flow.mapping) if flow.mapping else "none yet",
        wanted="complete",
        missing=missing,
        url_name="mapping",
    )


def _truth_decided(flow: Flow) -> Condition:
    data_type = template(flow.template).source_type
    truth = SourceOfTruth.objects.filter(pk=data_type).select_related("owner").first()
    is_ours = truth is not None and (truth.owner_id == flow.source_id or template(flow.template).is_two_way)
    return Condition(
        name="The source of truth is chosen",
        is_met=is_ours,
        found=str(truth.owner) if truth else "not chosen",
        wanted=str(flow.source),
        missing=f"Choose {flow.source} as the source of truth, or remove this flow.",
        url_name="source_of_truth",
    )


def _lists_read(flow: Flow) -> Condition:
    is_read = Record.objects.filter(connection=flow.target, data_type="ledger_account").exists()
    return Condition(
        name="The ledger's accounts have been read",
        is_met=is_read,
        found="read" if is_read else "not yet",
        wanted="read",
        missing="This takes a minute after connecting.",
    )


def _source_read(flow: Flow) -> Condition:
    data_type = template(flow.template).source_type
    stream = connector(flow.source.connector).stream(data_type)
    state = StreamState.objects.filter(connection=flow.source, data_type=stream.carried_by or data_type).first()
    is_read = state is not None and state.backfilled_at is not None
    return Condition(
        name="The source has been read completely once",
        is_met=is_read,
        found="complete" if is_read else "still reading",
        wanted="complete",
        missing="The first read is still under way; its progress is on the runs page.",
        url_name="runs",
    )


def _period(flow: Flow, today: dt.date) -> list[Condition]:
    first, last = flow.parallel_from, flow.parallel_until
    days = (last - first).days + 1 if first and last else 0
    wanted = int(target_of(flow, "parallel_days"))
    return [
        Condition(
            name="The comparison covers enough days",
            is_met=days >= wanted,
            found=f"{days} days",
            wanted=f"at least {wanted} days",
            missing="Choose a longer period to compare.",
        ),
        Condition(
            name="The agreed end of the comparison is reached",
            is_met=last is not None and last < today,
            found=f"{last:%-d %B %Y}" if last else "not agreed",
            wanted="in the past",
            missing="Wait for the last day of the comparison.",
        ),
    ]


def _everything_planned(flow: Flow) -> Condition:
    days = proof_of(flow, flow.parallel_from, flow.parallel_until) if flow.parallel_from and flow.parallel_until else []
    unplanned = sum(day.unplanned for day in days)
    waiting = sum(day.counts["held"] + day.counts["failed"] for day in days)
    return Condition(
        name="Every source record of the period is accounted for",
        is_met=bool(days) and not unplanned and not waiting,
        found=f"{unplanned} not looked at, {waiting} held",
        wanted="0 and 0",
        missing="Clear what is held: correct the mapping and post again, or exclude it with a reason.",
        url_name="issues",
    )


def _rate(name: str, found: Decimal | None, wanted: Decimal) -> Condition:
    """`found` is None where nothing was compared, which proves nothing."""
    nothing = "What is in the ledger already is not compared again: wait for new records, or go back and choose another period."
    return Condition(
        name=name,
        is_met=found is not None and found >= wanted,
        found="nothing compared yet" if found is None else f"{found:.1%}",
        wanted=f"at least {wanted:.1%}",
        missing=nothing
        if found is None
        else "Look at the differences; most come from a mapping that is not yet right.",
        url_name="parallel",
    )


def _no_open_critical(flow: Flow) -> Condition:
    open_pairs = Pair.objects.filter(flow=flow, resolution=Pair.Resolution.OPEN, verdict__in=CRITICAL).count()
    return Condition(
        name="No critical difference is open",
        is_met=open_pairs == 0,
        found=f"{open_pairs} open",
        wanted="0",
        missing="Decide for each: ours is right, theirs is right, or an accepted difference.",
        url_name="parallel",
    )
