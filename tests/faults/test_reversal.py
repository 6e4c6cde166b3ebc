"""Taking back under fire: every entry of the plan goes once, nothing else goes, and the books stand as they did before."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.sdk.records import Company, DocumentLine, Invoice, Party
from marketplace.mapping.models import Flow
from marketplace.posting.models import Reversal, ReversalLine
from marketplace.posting.reversing import ask_for_reversal, confirm_reversal, go_on
from tenants.context import tenant
from tests.benchmarks.driving import Business, provider
from tests.faults.campaign import Size
from tests.faults.processes import Workers, wait_until, workers
from tests.faults.test_killed_workers import SENDING
from tests.faults.world import WRITES, World, connect, make_orders, trouble, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack]

KILLED_EVERY = 0.4
CLOSED_UNTIL = dt.date(2026, 10, 6)
EVERYTHING = {"by": "dated", "first": "2026-01-01", "last": "2026-12-31"}
#: A write of Xero that takes back is a POST; one that makes an entry against another is a PUT.
TAKES_BACK = {"xero": "POST /api.xro/2.0/", "quickbooks": "POST /v3/company/"}

Balance = dict[str, dict[str, Decimal]]
Line = dict[str, Any]


def posted_world(business: Business, orders: int, ledgers: Iterable[str]) -> World:
    """Everything posted in quiet, into books in which staff have entered something of their own."""
    world = connect(business, make_orders(orders), tuple(ledgers))
    for ledger in world.ledgers:
        with provider(ledger.connector) as simulated:
            simulated.enter(ledger.organisation_id, [staffs_invoice(ledger.connector)], by="staff")
    work_quietly()
    return world


def staffs_invoice(slug: str) -> Invoice:
    account = {"xero": "200", "quickbooks": "79"}[slug]
    line = DocumentLine(description="By hand", amount=Decimal(70), ledger_account=account)
    return Invoice(
        id="",
        number="STAFF-1",
        date=dt.date(2026, 10, 12),
        currency="GBP",
        customer=Party(name="A regular"),
        tax_mode="none",
        lines=(line,),
        total=Decimal(70),
    )


def close_period(world: World) -> None:
    for ledger in world.ledgers:
        with provider(ledger.connector) as simulated:
            company = Company(
                id=ledger.organisation_id,
                name="Kestrel",
                base_currency="GBP",
                time_zone="Europe/London",
                books_closed_until=CLOSED_UNTIL,
            )
            simulated.enter(ledger.organisation_id, [company], by="staff")


def lines_in(flow: Flow) -> list[Line]:
    """The ledger's own append-only book."""
    with provider(flow.target.connector) as simulated:
        return simulated.books(flow.target.organisation_id)


def balance_of(lines: Iterable[Line]) -> Balance:
    """Summed here, from the book's lines: what stands on each account."""
    standing: dict[tuple[str, str], Line] = {(line["data_type"], line["id"]): line for line in lines}
    balances: dict[str, dict[str, Decimal]] = {}
    for line in standing.values():
        for account, amount in {} if line["action"] in ("void", "delete") else line["movements"].items():
            balance = balances.setdefault(line["currency"], {})
            balance[account] = balance.get(account, Decimal(0)) + Decimal(amount)
    return {
        currency: {account: amount for account, amount in sorted(balance.items()) if amount}
        for currency, balance in balances.items()
        if any(balance.values())
    }


def plan(world: World) -> list[Reversal]:
    """For every flow: asked for, and planned in quiet."""
    with tenant(world.business.owner):
        asked = [
            ask_for_reversal(flow=flow, selection=EVERYTHING, covers="all", reason="Again", user=world.business.user)
            for flow in Flow.objects.select_related("target").order_by("created_at")
        ]
    work_quietly()
    return asked


def confirm(world: World, reversals: Iterable[Reversal]) -> None:
    with tenant(world.business.owner):
        for reversal in reversals:
            confirm_reversal(reversal=reversal, user=world.business.user)


def is_taken_back(world: World) -> bool:
    with tenant(world.business.owner):
        return not Reversal.objects.exclude(state=Reversal.State.DONE).exists()


def is_doubted(world: World) -> bool:
    with tenant(world.business.owner):
        return ReversalLine.objects.filter(state=ReversalLine.State.UNCERTAIN).exists()


def keep_killing(crew: Workers, is_done: Callable[[], bool], most: int) -> None:
    while crew.kills < most and not is_done():
        time.sleep(KILLED_EVERY)
        crew.kill_one()


def go_on_with_the_rest(world: World) -> None:
    """What a person does where an entry was given up on after several tries."""
    for ledger in world.ledgers:
        with provider(ledger.connector) as simulated:
            simulated.http.delete("/_sim/faults").raise_for_status()
    with tenant(world.business.owner):
        given_up = ReversalLine.objects.filter(state=ReversalLine.State.HELD).exclude(action=ReversalLine.Action.KEEP)
        left = Reversal.objects.filter(pk__in=given_up.values("reversal")).select_related("flow__target")
        rest = [go_on(reversal=reversal, user=world.business.user) for reversal in left]
    work_quietly()
    confirm(world, rest)
    work_quietly()
    assert is_taken_back(world)


def plan_of(world: World, flow: Flow) -> dict[str, set[tuple[str, str]]]:
    """What the plans said, by what was to be done: kind and identity of the entries. Of an entry planned again, the latest."""
    with tenant(world.business.owner):
        planned = ReversalLine.objects.filter(reversal__flow=flow).select_related("posting").order_by("id")
        lines = {line.posting_id: line for line in planned}.values()
        found: dict[str, set[tuple[str, str]]] = {"void": set(), "entry": set(), "nothing": set(), "keep": set()}
        for line in lines:
            found[line.action].add((line.posting.data_type, line.posting.external_id))
            assert line.state == ("held" if line.action == "keep" else "done"), (line.state, line.reason)
        return found


def check_taken_back(world: World, before: dict[str, Balance]) -> int:
    """Counted in the ledgers' books. Answers how many entries there were."""
    count = 0
    for flow in world.flows:
        lines, planned = lines_in(flow), plan_of(world, flow)
        gone = Counter((line["data_type"], line["id"]) for line in lines if line["action"] in ("void", "delete"))
        assert set(gone) == planned["void"], "lost, or taken back without being in the plan"
        assert set(gone.values()) <= {1}, "taken back twice"
        entered = [line for line in lines if line["by"] == "connector" and line["action"] == "create"]
        references = Counter(line["reference"] for line in entered if line["data_type"] == "credit_note")
        assert set(references.values()) <= {1}, "two entries against one"
        ours = {(line["data_type"], line["id"]) for line in entered}
        kept = [line for line in lines if (line["data_type"], line["id"]) in planned["keep"] or line["by"] == "staff"]
        assert planned["keep"] <= ours
        assert balance_of(lines) == balance_of(kept), "the trial balance is not the one from before"
        assert before[flow.target.connector] == balance_of(line for line in lines if line["by"] == "staff")
        count += len(gone) + len(planned["entry"])
    return count


def staffs(world: World) -> dict[str, Balance]:
    """How the books stood before anything was posted: what staff entered."""
    return {
        flow.target.connector: balance_of(line for line in lines_in(flow) if line["by"] == "staff")
        for flow in world.flows
    }


def test_reversal_under_fire_takes_back_the_plan_and_nothing_else(
    business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any, size: Size, seed: int
) -> None:
    world = posted_world(business, size.pick(30, 300), ("xero", "quickbooks"))
    before = staffs(world)
    close_period(world)
    reversals = plan(world)
    tried = 0
    for slug in ("xero", "quickbooks"):
        for matches in (WRITES, TAKES_BACK) if slug == "xero" else (TAKES_BACK,):
            tried += trouble(slug, calls=size.pick(20, 100), seed=seed, match=matches[slug])
    confirm(world, reversals)
    with workers(3, tmp_path, seed=seed, written_at_once=5) as crew:
        keep_killing(crew, lambda: is_taken_back(world), most=size.pick(8, 100))
        wait_until(lambda: is_taken_back(world), "everything taken back", size.pick(90, 600))
    go_on_with_the_rest(world)
    count = check_taken_back(world, before)
    tell("C6", "taking back: writes dropped before and after, cut off, 429, 503", tried=tried, events=count)
    tell("C3", "taking back: kill -9 of a worker", tried=crew.kills, events=count)


@pytest.mark.parametrize("ledger", ["xero", "quickbooks"])
def test_worker_paused_right_before_taking_back_takes_nothing_back_twice(
    ledger: str, business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    """While it stands still past its lease another worker takes over; then it sends what it was about to send."""
    world = posted_world(business, 12, [ledger])
    before = staffs(world)
    reversals = plan(world)
    words = {"xero": '"Status":"VOIDED"', "quickbooks": '"operation":"void"'}[ledger]
    with workers(2, tmp_path, written_at_once=4) as crew:
        crew.strike(SENDING, "stop", words)
        confirm(world, reversals)
        stopped = crew.stopped(SENDING)
        wait_until(lambda: is_doubted(world), "another worker that took over")
        crew.go_on(stopped, SENDING)
        wait_until(lambda: is_taken_back(world), "everything taken back", 60)
    count = check_taken_back(world, before)
    tell("C2", f"taking back: pause between intent and send, {ledger}", tried=1, events=count)
