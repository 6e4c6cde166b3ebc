"""The main job: two businesses go from the catalogue to live, on a month of orders that staff have booked by hand.

Everything happens as it would for a tenant: the engine's workers read, plan, pair and write; this job only takes the decisions people
take, waits, and at the end counts in the providers' own books.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import Count, Sum

from connectors.registry import connector
from connectors.sdk.records import LedgerAccount, TaxRate
from marketplace.core.clock import now
from marketplace.core.models import WorkItem
from marketplace.core.work import request_work
from marketplace.cutover.gate import conditions, match_rate
from marketplace.cutover.models import Pair, SandboxCase, Verdict
from marketplace.cutover.operations import UnableToMove, move_flow, resolve_pairs
from marketplace.demo.businesses import PASSWORD, Business
from marketplace.demo.checking import Tally, check_books
from marketplace.demo.month import Month, make_month
from marketplace.demo.staff import Books, book_month
from marketplace.demo.walk import Report, Walk
from marketplace.demo.world import Simulated
from marketplace.installations.models import Connection
from marketplace.installations.operations import (
    choose_organisation,
    finish_consent,
    install_connector,
    start_consent,
)
from marketplace.mapping.lists import standard_records
from marketplace.mapping.models import Flow, MappingVersion, SourceOfTruth, Stage
from marketplace.mapping.templates import template
from marketplace.posting.decisions import exclude, post_again
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.sync.models import Record, StreamState
from tenants.choices import Role
from tenants.context import tenant
from tenants.models import Membership, User
from tenants.operations import create_business

PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 0.25
PILOT_DAYS = 3
LIVE_ORDERS = 24
MISTAKES_OF_EACH = 3


class DemoFailed(Exception):
    """Something the demonstration promises did not happen; the message says what."""


def run_business(business: Business, report: Report, today: dt.date, first: dt.date, last: dt.date) -> Tally:
    """The whole staircase for one business. Raises `DemoFailed`."""
    walk = Walk(business, report, first, last)
    open_business(walk)
    trade(walk)
    connect_both(walk)
    add_flows(walk)
    rehearse_all(walk, today)
    pilot(walk, today)
    compare(walk, today)
    go_live(walk, today)
    live_orders(walk, today)
    return check_books(walk)


def open_business(walk: Walk) -> None:
    """People, and the tenant they keep the books of."""
    people = [_person(*walk.business.owner), _person(*walk.business.bookkeeper)]
    walk.user = people[0]
    walk.owner = create_business(
        owner=walk.user,
        legal_name=walk.business.legal_name,
        country=walk.business.country,
        base_currency=walk.business.shop.currency,
        time_zone=str(walk.business.shop.zone),
    )
    Membership.objects.create(user=people[1], tenant=walk.owner, role=Role.BOOKKEEPER)


def _person(full_name: str, email: str) -> User:
    user = User.objects.create_user(email, PASSWORD, full_name=full_name)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def trade(walk: Walk) -> None:
    """The month happens at the shop: customers order, some get their money back, payouts arrive."""
    business = walk.business
    walk.month = make_month(business.shop, walk.first, business.orders, business.seed)
    for records in (walk.month.customers, walk.month.orders, walk.month.refunds, walk.month.payouts):
        walk.shop.enter(business.source.organisation, records, by="provider")
    walk.report(
        f"{len(walk.month.orders):,} orders, {len(walk.month.refunds)} refunds, {len(walk.month.payouts)} payouts at the shop"
    )


def connect_both(walk: Walk) -> None:
    """Consent on our page and at the provider, for the shop and for the ledger; then the first read."""
    walk.source = _connect(
        walk, walk.business.source.connector, walk.business.source.organisation, walk.business.source.settings
    )
    walk.ledger = _connect(walk, walk.business.ledger.connector, walk.business.ledger.organisation, {})
    _wait(walk, "first read", lambda: _unread(walk) == 0, lambda: _records_read(walk))


def _connect(walk: Walk, slug: str, organisation: str, typed: dict[str, str]) -> Connection:
    found = connector(slug)
    redirect_uri = f"{settings.PUBLIC_URL}/connect/{slug}/callback"
    session = f"demo-{walk.owner.pk}"
    with tenant(walk.owner):
        installation = install_connector(found=found, typed=typed, user=walk.user)
        address = start_consent(
            installation=installation,
            environment=Connection.Environment.SIMULATOR,
            user=walk.user,
            session_key=session,
            redirect_uri=redirect_uri,
        )
    params = Simulated(slug).consent(address, _organisation_id(slug, organisation))
    consent = finish_consent(slug=slug, params=params, user=walk.user, session_key=session)
    chosen = next(found for found in consent.organisations if organisation in (found.id, found.name))
    with tenant(walk.owner):
        connection = choose_organisation(state=consent.state, organisation_id=chosen.id, user=walk.user)
    walk.report(f"{found.manifest.name}: {connection.organisation_name} connected")
    return connection


def _organisation_id(slug: str, wanted: str) -> str:
    answer = Simulated(slug).http.get("/_sim/organisations").raise_for_status().json()
    return next(str(found["id"]) for found in answer["organisations"] if wanted in (found["id"], found["name"]))


def _unread(walk: Walk) -> int:
    with tenant(walk.owner):
        done = StreamState.objects.exclude(backfilled_at=None).count()
    wanted = sum(
        not stream.carried_by for side in (walk.source, walk.ledger) for stream in connector(side.connector).streams
    )
    return wanted - done


def _records_read(walk: Walk) -> str:
    with tenant(walk.owner):
        return f"{Record.objects.count():,} records"


def add_flows(walk: Walk) -> None:
    """The templates, with the accounts an owner would choose; the shop is the source of truth for what it sells."""
    with tenant(walk.owner):
        walk.books = _books(walk)
        for slug in walk.business.templates:
            walk.flows[slug] = _add_flow(walk, slug)


def _add_flow(walk: Walk, slug: str) -> Flow:
    chosen = template(slug)
    SourceOfTruth.objects.update_or_create(
        data_type=chosen.source_type,
        defaults={"owner": walk.source, "decided_by": walk.user, "decided_at": now()},
    )
    flow = Flow.objects.create(
        template=slug,
        name=chosen.name,
        source=walk.source,
        target=walk.ledger,
        start_date=walk.first,
        created_by=walk.user,
        created_at=now(),
    )
    spec = {"fields": {name: entry for name, entry in _entries(walk).items() if name in chosen.names}}
    flow.mapping = MappingVersion.objects.create(
        flow=flow,
        number=1,
        spec=spec,
        digest=_digest(spec),
        comment="As set up",
        created_by=walk.user,
        created_at=now(),
    )
    flow.save()
    return flow


def _digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()


def _entries(walk: Walk) -> dict[str, dict[str, Any]]:
    books, wanted = walk.books, walk.business
    constants = {
        "sales_ledger_account": books.sales,
        "shipping_ledger_account": books.shipping,
        "gift_card_ledger_account": books.gift_cards,
        "rounding_ledger_account": _account(walk, wanted.accounts.rounding),
        "contact": wanted.contact,
        "clearing_ledger_account": books.payout_clearing,
        "bank_ledger_account": books.bank,
        "fees_ledger_account": books.fees,
        "supplier": books.source,
    }
    taxes = {label: code for label, code in books.taxes.items() if code}
    return {
        **{name: {"from": "constant", "value": value} for name, value in constants.items()},
        "tax_rates": {"from": "map", "pairs": taxes, "otherwise": ""},
        "payment_ledger_accounts": {"from": "map", "pairs": dict(books.clearing), "otherwise": ""},
    }


def _books(walk: Walk) -> Books:
    """How this business books, in its ledger's own codes."""
    wanted = walk.business.accounts
    codes = {rate.name: rate.code for rate in standard_records(walk.ledger, TaxRate)}
    clearing = {method: _account(walk, words) for method, words in wanted.clearing.items()}
    return Books(
        zone=walk.business.shop.zone,
        source=connector(walk.source.connector).manifest.name,
        sales=_account(walk, wanted.sales),
        other_sales=_account(walk, wanted.other_sales),
        shipping=_account(walk, wanted.shipping),
        gift_cards=_account(walk, wanted.gift_cards),
        clearing=clearing,
        payout_clearing=clearing[walk.business.shop.methods[0][0]],
        bank=_account(walk, wanted.bank),
        fees=_account(walk, wanted.fees),
        taxes={
            label: next((codes[name] for name in names if name in codes), "")
            for label, names in walk.business.tax_codes.items()
        },
        wrong_currency=walk.business.wrong_currency,
        contact=walk.business.contact,
        repays_on_credit_note=connector(walk.ledger.connector).writable("credit_note").settles_on_document,
    )


def _account(walk: Walk, words: str) -> str:
    for account in standard_records(walk.ledger, LedgerAccount):
        if words.lower() in account.name.lower():
            return account.code
    raise DemoFailed(f"The ledger of {walk.business.legal_name} has no account called {words}.")


def rehearse_all(walk: Walk, today: dt.date) -> None:
    """Sandbox: every edge case of every flow, against the ledger's simulator with this tenant's accounts."""
    for flow in walk.flows.values():
        _move(walk, flow, Stage.SANDBOX, today)
        request_work(tenant_id=walk.owner.pk, kind="rehearse", key=str(flow.pk), is_long=True)
    _wait(walk, "sandbox", lambda: _rehearsed(walk), lambda: "rehearsing")
    with tenant(walk.owner):
        failed = SandboxCase.objects.filter(has_passed=False)
        for case in failed:
            walk.report(f"  failed: {case.flow} – {case.explanation}: expected {case.expected}, found {case.found}")
        if failed.exists():
            raise DemoFailed("A sandbox case failed.")
        walk.report(f"sandbox: {SandboxCase.objects.count()} edge cases passed")


def _rehearsed(walk: Walk) -> bool:
    with tenant(walk.owner):
        return SandboxCase.objects.values("flow").distinct().count() == len(walk.flows)


def pilot(walk: Walk, today: dt.date) -> None:
    """Pilot: the first days of the month only, final at once: drafts would leave their payments to staff, and there are none."""
    end = walk.first + dt.timedelta(days=PILOT_DAYS - 1)
    dates = {"orders": "placed_at", "refunds": "refunded_at", "payouts": "paid_date"}
    for slug, flow in walk.flows.items():
        days = PILOT_DAYS if slug == "orders" else 12
        until = walk.first + dt.timedelta(days=days - 1)
        with tenant(walk.owner):
            flow.scope = [{"path": dates[slug], "operator": "on_or_before", "value": until.isoformat()}]
            flow.targets = {"pilot_count": 1}
            flow.settings = {**flow.settings, "pilot_documents": "final"}
            flow.save(update_fields=["scope", "targets", "settings"])
        _move(walk, flow, Stage.PILOT, today)
    _wait(walk, "pilot", lambda: _is_settled(walk), lambda: _standing(walk))
    with tenant(walk.owner):
        posted = RecordOutcome.objects.filter(stage=Stage.PILOT, state=RecordOutcome.State.POSTED).count()
    walk.report(f"pilot: {posted} records up to {end:%-d %B} posted")


def compare(walk: Walk, today: dt.date) -> None:
    """Parallel: staff have booked the rest of the month by hand; every shadow posting is compared with what they entered."""
    piloted = _piloted(walk)
    rest = Month(
        orders=[order for order in walk.month.orders if order.id not in piloted["order"]],
        refunds=[refund for refund in walk.month.refunds if refund.id not in piloted["refund"]],
        payouts=[payout for payout in walk.month.payouts if payout.id not in piloted["payout"]],
    )
    walk.entered = book_month(rest, walk.books, mistakes_of_each=MISTAKES_OF_EACH, seed=walk.business.seed)
    walk.accounting.enter(walk.ledger.organisation_id, walk.entered.records, by="staff")
    walk.report(
        f"staff entered {len(walk.entered.records):,} documents by hand, {len(walk.entered.planted)} with a mistake"
    )
    for stream in connector(walk.ledger.connector).streams:
        if not stream.carried_by:
            request_work(tenant_id=walk.owner.pk, kind="sync", key=f"{walk.ledger.pk}:{stream.data_type}")
    for flow in walk.flows.values():
        _move(walk, flow, Stage.PARALLEL, today, parallel_from=walk.first, parallel_until=walk.last)
    _wait(walk, "parallel", lambda: _is_settled(walk), lambda: _standing(walk))
    with tenant(walk.owner):
        for flow in walk.flows.values():
            rate = match_rate(flow)
            walk.report(
                f"parallel: {flow.name}: {rate.pairs:,} compared, {rate.by_count:.1%} agree by count, {rate.by_money:.1%} by money"
            )


def _piloted(walk: Walk) -> dict[str, set[str]]:
    with tenant(walk.owner):
        rows = RecordOutcome.objects.filter(stage=Stage.PILOT, state=RecordOutcome.State.POSTED)
        found: dict[str, set[str]] = {"order": set(), "refund": set(), "payout": set()}
        for data_type, external_id in rows.values_list("record__data_type", "record__external_id"):
            found[data_type].add(external_id)
    return found


def go_live(walk: Walk, today: dt.date) -> None:
    """The gate refuses while critical differences are open; the bookkeeper decides each; the owner approves."""
    with tenant(walk.owner):
        open_before = sum(not condition.is_met for flow in walk.flows.values() for condition in conditions(flow, today))
        if not open_before:
            raise DemoFailed("The gate was open although mistakes were planted.")
        walk.report(f"gate: closed, {open_before} condition{'' if open_before == 1 else 's'} not met")
        _decide_held(walk)
        _decide_pairs(walk)
    for flow in walk.flows.values():
        _move(walk, flow, Stage.LIVE, today, note="Demonstration")
    _wait(walk, "go-live", lambda: _is_settled(walk), lambda: _standing(walk))
    with tenant(walk.owner):
        forgotten = list(RecordOutcome.objects.filter(reason_code="catch_up").values_list("pk", flat=True))
        post_again(outcome_ids=forgotten, user=walk.user)
    _wait(walk, "catch-up", lambda: _is_settled(walk), lambda: _standing(walk))
    walk.report(f"live: staff's entries linked, {len(forgotten)} forgotten records posted")


def _decide_held(walk: Walk) -> None:
    held = RecordOutcome.objects.filter(state__in=[RecordOutcome.State.HELD, RecordOutcome.State.FAILED])
    for outcome in held[:20]:
        walk.report(f"  held: {outcome.reason}")
    exclude(outcome_ids=list(held.values_list("pk", flat=True)), reason="Agreed with the owner", user=walk.user)


def _decide_pairs(walk: Walk) -> None:
    for flow in walk.flows.values():
        chosen = Pair.objects.filter(flow=flow, resolution=Pair.Resolution.OPEN).exclude(verdict=Verdict.MATCH)
        ids = list(chosen.values_list("pk", flat=True))
        if ids:
            resolve_pairs(
                flow=flow,
                pair_ids=ids,
                resolution=Pair.Resolution.OURS_RIGHT,
                reason="Checked against the shop; staff correct the entry",
                user=walk.user,
            )


def live_orders(walk: Walk, today: dt.date) -> None:
    """New orders arrive while live: the shop's webhooks bring them, and they are posted without anybody's doing."""
    fresh = make_month(walk.business.shop, today.replace(day=1), LIVE_ORDERS, walk.business.seed + 1)
    moment = now().replace(microsecond=0)
    orders = [
        msgspec.structs.replace(
            order,
            id=str(7_000_000 + int(order.id)),
            number=f"#{20_000 + position}",
            placed_at=moment,
            updated_at=moment,
            payments=tuple(
                msgspec.structs.replace(paid, id=str(7_000_000 + int(paid.id)), paid_at=moment)
                for paid in order.payments
            ),
        )
        for position, order in enumerate(fresh.orders)
        if order.status == "paid" and not order.is_test
    ]
    walk.month.orders += orders
    started = time.monotonic()
    walk.shop.enter(walk.business.source.organisation, [*fresh.customers, *orders], by="provider", emit=True)
    numbers = [order.number for order in orders]
    _wait(
        walk,
        "live orders",
        lambda: _posted_live(walk, numbers) == len(numbers),
        lambda: f"{_posted_live(walk, numbers)} of {len(numbers)}",
    )
    walk.report(
        f"live: {len(numbers)} new orders in the ledger {time.monotonic() - started:.1f} s after they were placed"
    )


def _posted_live(walk: Walk, numbers: list[str]) -> int:
    with tenant(walk.owner):
        return RecordOutcome.objects.filter(
            record__number__in=numbers, record__data_type="order", state=RecordOutcome.State.POSTED
        ).count()


def _move(walk: Walk, flow: Flow, stage: str, today: dt.date, **kwargs: Any) -> None:
    with tenant(walk.owner):
        try:
            move_flow(flow=flow, to_stage=stage, user=walk.user, today=today, **kwargs)
        except UnableToMove as error:
            missing = "; ".join(f"{one.name}: {one.found}, wanted {one.wanted}" for one in error.missing)
            raise DemoFailed(f"{flow.name}: {error} {missing}") from error
        flow.refresh_from_db()


def _is_settled(walk: Walk) -> bool:
    """No work of this tenant is due or under way, and nothing is between planned and posted."""
    busy = WorkItem.objects.filter(tenant=walk.owner, kind__in=["plan", "post", "pair", "events", "rehearse"]).exists()
    reading = WorkItem.objects.filter(tenant=walk.owner, kind="sync", due_at__lte=now()).exists()
    if busy or reading:
        return False
    with tenant(walk.owner):
        moving = [Posting.State.PLANNED, Posting.State.SENDING, Posting.State.UNCERTAIN]
        return not Posting.objects.filter(state__in=moving).exists()


def _standing(walk: Walk) -> str:
    with tenant(walk.owner):
        states = Counter(dict(RecordOutcome.objects.values_list("state").annotate(Count("pk"))))
    return ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))


def _wait(walk: Walk, what: str, is_done: Callable[[], bool], progress: Callable[[], str]) -> None:
    """Show progress until it is done. Raises `DemoFailed` with the engine's own words when it takes too long."""
    deadline, shown = time.monotonic() + PATIENCE_SECONDS, 0.0
    while not is_done():
        if time.monotonic() > deadline:
            problems = WorkItem.objects.filter(tenant=walk.owner).exclude(problem="").values_list("kind", "problem")
            raise DemoFailed(f"{what} took longer than {PATIENCE_SECONDS:.0f} s: {list(problems)}")
        if time.monotonic() - shown > 2:
            walk.report(f"  {what}: {progress()}")
            shown = time.monotonic()
        time.sleep(PAUSE_SECONDS)


def money_by_verdict(walk: Walk) -> list[tuple[str, int, Decimal]]:
    """Every verdict with its count and the money it concerns."""
    with tenant(walk.owner):
        rows = Pair.objects.values_list("verdict").annotate(Count("pk"), Sum("money")).order_by("verdict")
        return [(verdict, count, money) for verdict, count, money in rows]
