"""From records to outcomes: exactly one each, whatever happens to the record and when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.posting.proof import proof_of
from marketplace.sync.models import Record
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import XERO_FIELDS, make_flow, remap, store_lists
from tests.posting.world import PLACED, Status, arrive, order, read_as

LATER = PLACED + dt.timedelta(hours=1)


@pytest.fixture
def flow(tenant: Tenant, alice: User) -> Iterator[Flow]:
    """Live, inside the tenant's context."""
    with tenant_context(tenant):
        flow = make_flow(alice, stage=Stage.LIVE)
        store_lists(flow)
        yield flow


def plan(flow: Flow, owner: Tenant) -> int:
    fresh = Flow.objects.select_related("source", "target", "mapping").get(pk=flow.pk)
    return plan_flow(owner=owner, flow=fresh)


def outcome_of(number: str) -> RecordOutcome:
    return RecordOutcome.objects.get(record__number=number)


def post_everything() -> None:
    """As if the ledger had taken all that was planned."""
    for posting in Posting.objects.filter(state="planned"):
        posting.state, posting.external_id = Posting.State.POSTED, f"x{posting.pk}"
        posting.save()
    RecordOutcome.objects.filter(state="pending").update(state="posted")


def states() -> list[tuple[str, int, str]]:
    rows = Posting.objects.order_by("id").values_list("purpose", "version", "state")
    return [(purpose.split(":")[0], version, state) for purpose, version, state in rows]


def test_every_record_gets_exactly_one_outcome(flow: Flow, tenant: Tenant) -> None:
    orders = [
        order(1),
        order(2, status="cancelled"),
        order(3, is_test=True),
        order(4, method="klarna"),
        order(5, placed_at=dt.datetime(2026, 8, 1, tzinfo=dt.UTC)),
    ]
    arrive(flow.source, *map(read_as, orders))
    assert plan(flow, tenant) == 5
    found = dict(RecordOutcome.objects.values_list("record__number", "state"))
    assert found == {"#1": "pending", "#2": "excluded", "#3": "excluded", "#4": "held", "#5": "excluded"}
    held = outcome_of("#4")
    assert (held.reason_code, held.owner, bool(held.next_step)) == ("unmapped", "bookkeeper", True)
    assert "klarna" in held.reason


def test_planning_again_changes_nothing(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    before = list(Posting.objects.values_list("id", "key", "state"))
    assert plan(flow, tenant) == 0
    assert list(Posting.objects.values_list("id", "key", "state")) == before


def test_record_asked_for_again_keeps_its_postings_when_nothing_changed(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    RecordOutcome.objects.update(is_replay_asked=True)
    assert plan(flow, tenant) == 1
    assert states() == [("invoice", 1, "planned"), ("payment", 1, "planned")]
    assert not outcome_of("#1").is_replay_asked


def test_change_before_posting_replaces_what_was_planned(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    arrive(flow.source, read_as(order(1, "180.00", updated_at=LATER)))
    plan(flow, tenant)
    assert states() == [
        ("invoice", 1, "withdrawn"),
        ("payment", 1, "withdrawn"),
        ("invoice", 2, "planned"),
        ("payment", 2, "planned"),
    ]
    assert len(set(Posting.objects.values_list("key", flat=True))) == 4
    assert outcome_of("#1").amount == Decimal("180.00")


def test_change_after_posting_is_held_and_names_both_amounts(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    post_everything()
    arrive(flow.source, read_as(order(1, "180.00", updated_at=LATER)))
    plan(flow, tenant)
    held = outcome_of("#1")
    assert (held.state, held.reason_code, held.owner) == ("held", "changed_after_posting", "bookkeeper")
    assert "120.00" in held.reason and "180.00" in held.reason
    assert [state for _, _, state in states()] == ["posted", "posted"]


def test_change_after_posting_that_touches_no_document_stays_posted(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    post_everything()
    arrive(flow.source, read_as(order(1, tags=("gift",), updated_at=LATER)))
    assert plan(flow, tenant) == 1
    assert outcome_of("#1").state == "posted"
    assert len(states()) == 2


def test_deleted_before_posting_is_excluded_and_withdrawn(flow: Flow, tenant: Tenant) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    arrive(flow.source, read_as(order(1, updated_at=LATER), is_deleted=True))
    plan(flow, tenant)
    assert (outcome_of("#1").state, outcome_of("#1").reason_code) == ("excluded", "deleted")
    assert {state for _, _, state in states()} == {"withdrawn"}


@pytest.mark.parametrize("status", ["cancelled", "deleted"])
def test_cancelled_or_deleted_after_posting_is_held(flow: Flow, tenant: Tenant, status: str) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    post_everything()
    gone: Status = "cancelled" if status == "cancelled" else "paid"
    arrive(flow.source, read_as(order(1, status=gone, updated_at=LATER), is_deleted=status == "deleted"))
    plan(flow, tenant)
    assert (outcome_of("#1").state, outcome_of("#1").reason_code) == ("held", "changed_after_posting")
    assert [state for _, _, state in states()] == ["posted", "posted"]


@pytest.mark.parametrize("state", ["sending", "uncertain"])
def test_record_under_way_is_not_touched_until_its_answer_is_known(flow: Flow, tenant: Tenant, state: str) -> None:
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    Posting.objects.filter(purpose="invoice").update(state=state)
    arrive(flow.source, read_as(order(1, "180.00", updated_at=LATER)))
    assert plan(flow, tenant) == 0
    assert states()[0] == ("invoice", 1, state)
    Posting.objects.filter(purpose="invoice").update(state="posted", external_id="x1")
    assert plan(flow, tenant) == 1
    assert outcome_of("#1").state == "held"


def test_unmapped_value_posts_once_it_is_mapped(flow: Flow, tenant: Tenant, alice: User) -> None:
    arrive(flow.source, read_as(order(1, method="klarna")))
    plan(flow, tenant)
    accounts = {"from": "map", "pairs": {"shopify_payments": "092", "klarna": "092"}, "otherwise": ""}
    remap(flow, alice, {**XERO_FIELDS, "payment_ledger_accounts": accounts})
    RecordOutcome.objects.update(is_replay_asked=True)
    plan(flow, tenant)
    assert outcome_of("#1").state == "pending"
    assert {posting.mapping.number for posting in Posting.objects.filter(state="planned")} == {2}


def test_parallel_compares_and_writes_nothing(flow: Flow, tenant: Tenant) -> None:
    Flow.objects.update(stage=Stage.PARALLEL)
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    assert outcome_of("#1").state == "shadow"
    assert {state for _, _, state in states()} == {"shadow"}


def test_pilot_leaves_out_what_is_outside_its_scope(flow: Flow, tenant: Tenant) -> None:
    scope = [{"path": "total", "operator": "at_least", "value": "100"}]
    Flow.objects.update(stage=Stage.PILOT, scope=scope)
    arrive(flow.source, read_as(order(1)), read_as(order(2, "20.00")))
    plan(flow, tenant)
    assert outcome_of("#1").state == "pending"
    assert (outcome_of("#2").state, outcome_of("#2").reason_code) == ("excluded", "outside_pilot")


@pytest.mark.parametrize("stage", [Stage.SET_UP, Stage.SANDBOX])
def test_nothing_is_planned_before_the_pilot(flow: Flow, tenant: Tenant, stage: str) -> None:
    Flow.objects.update(stage=stage)
    arrive(flow.source, read_as(order(1)))
    assert plan(flow, tenant) == 0


def test_keys_are_the_same_for_the_same_record_in_another_database(flow: Flow, tenant: Tenant) -> None:
    """A restored backup plans the same keys, so a provider recognises what it has already."""
    arrive(flow.source, read_as(order(1)))
    plan(flow, tenant)
    before = set(Posting.objects.values_list("key", flat=True))
    RecordOutcome.objects.all().delete()
    Posting.objects.update(depends_on=None)
    Posting.objects.all().delete()
    plan(flow, tenant)
    assert set(Posting.objects.values_list("key", flat=True)) == before


def test_planning_takes_the_same_statements_for_one_record_and_for_many(flow: Flow, tenant: Tenant) -> None:
    def statements(*numbers: int) -> int:
        arrive(flow.source, *(read_as(order(number)) for number in numbers))
        counted: list[str] = []

        def count(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
            counted.append(str(sql))
            return execute(sql, params, many, context)

        with database.execute_wrapper(count):
            plan(flow, tenant)
        return len(counted)

    assert statements(1) == statements(*range(2, 102))


steps = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["new", "dearer", "cancelled", "deleted", "klarna", "posted"]),
    ),
    max_size=12,
)


@given(story=steps)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_the_proof_adds_up(flow: Flow, tenant: Tenant, story: list[tuple[int, str]]) -> None:
    """Source = posted + on the way + held + excluded after any story, and no document was made twice."""
    with forgotten():
        for minute, (number, event) in enumerate(story):
            _tell(flow, number, event, PLACED + dt.timedelta(minutes=minute))
            plan(flow, tenant)
        assert RecordOutcome.objects.count() == Record.objects.filter(data_type="order").count()
        days = proof_of(flow, PLACED.date(), PLACED.date())
        assert all(day.difference == 0 and day.unplanned == 0 for day in days)
        alive = Posting.objects.exclude(state="withdrawn").values_list("record_id", "purpose")
        assert len(alive) == len(set(alive))


@contextmanager
def forgotten() -> Iterator[None]:
    """Each story begins with an empty shop."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _tell(flow: Flow, number: int, event: str, at: dt.datetime) -> None:
    if event == "posted":
        return post_everything()
    changed = {
        "new": order(number, updated_at=at),
        "dearer": order(number, "180.00", updated_at=at),
        "cancelled": order(number, status="cancelled", updated_at=at),
        "deleted": order(number, updated_at=at),
        "klarna": order(number, method="klarna", updated_at=at),
    }[event]
    arrive(flow.source, read_as(changed, is_deleted=event == "deleted"))
