"""Steps on the staircase: which are refused, who may take them, and what each does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from marketplace.audit.models import AuditEntry
from marketplace.core.models import WorkItem
from marketplace.cutover.gate import Condition, conditions, match_rate
from marketplace.cutover.models import Pair, SandboxCase, StageMove, Verdict
from marketplace.cutover.operations import (
    UnableToMove,
    UnableToResolve,
    change_choices,
    move_flow,
    pause_flow,
    resolve_pairs,
    resume_flow,
)
from marketplace.cutover.pairing import pair_flow
from marketplace.cutover.rehearsal import cases_for
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.sync.models import StreamState
from tenants.models import Tenant, User
from tests.cutover.world import LAST, TODAY, entry, invoice, payment, remap, shadow, store_lists


def missing(flow: Flow) -> set[str]:
    flow = Flow.objects.select_related("source", "target", "mapping").get(pk=flow.pk)
    return {condition.name for condition in conditions(flow, TODAY) if not condition.is_met}


def stand(flow: Flow, stage: str) -> Flow:
    Flow.objects.filter(pk=flow.pk).update(stage=stage)
    flow.refresh_from_db()
    return flow


def agreed(flow: Flow, count: int = 1) -> Flow:
    """Everything compared agrees."""
    for place in range(count):
        shadow(flow, invoice(f"{1000 + place}", reference=f"#{1000 + place}"))
        entry(flow, invoice(f"x{place}", reference=f"#{1000 + place}"))
    pair_flow(flow=flow)
    return flow


@pytest.mark.parametrize(
    ("stage", "to_stage"),
    [(Stage.SET_UP, Stage.PILOT), (Stage.SANDBOX, Stage.LIVE), (Stage.LIVE, Stage.PILOT), (Stage.LIVE, Stage.LIVE)],
)
def test_only_neighbouring_steps_can_be_taken(flow: Flow, alice: User, stage: str, to_stage: str) -> None:
    with pytest.raises(UnableToMove):
        move_flow(flow=stand(flow, stage), to_stage=to_stage, user=alice, today=TODAY)
    flow.refresh_from_db()
    assert flow.stage == stage


def test_missing_conditions_refuse_the_step_and_are_named(flow: Flow, alice: User) -> None:
    with pytest.raises(UnableToMove) as refusal:
        move_flow(flow=stand(flow, Stage.SET_UP), to_stage=Stage.SANDBOX, user=alice, today=TODAY)
    assert [condition.name for condition in refusal.value.missing] == ["The ledger's accounts have been read"]


def test_gate_before_the_sandbox(flow: Flow, alice: User) -> None:
    stand(flow, Stage.SET_UP)
    assert missing(flow) == {"The ledger's accounts have been read"}
    store_lists(flow)
    assert missing(flow) == set()
    SourceOfTruth.objects.all().delete()
    Connection.objects.filter(pk=flow.target_id).update(state="needs_reconnect")
    remap(flow, alice, {})
    assert missing(flow) == {"Xero is connected", "The field mapping is complete", "The source of truth is chosen"}


def test_gate_before_the_pilot(flow: Flow) -> None:
    stand(flow, Stage.SANDBOX)
    StreamState.objects.update(backfilled_at=None)
    assert missing(flow) == {
        "Every edge case passes with this mapping",
        "The source has been read completely once",
        "The pilot's scope is chosen",
    }
    cases = [
        SandboxCase(
            flow=flow, mapping=flow.mapping, name=c.name, has_passed=True, expected={}, found={}, run_at=flow.created_at
        )
        for c in cases_for(flow)
    ]
    SandboxCase.objects.bulk_create(cases)
    StreamState.objects.update(backfilled_at=flow.created_at)
    Flow.objects.update(scope=[{"path": "channel", "operator": "is", "value": "pos"}])
    assert missing(flow) == set()


def test_cases_passed_with_an_older_mapping_do_not_count(flow: Flow, alice: User) -> None:
    test_gate_before_the_pilot(flow)
    flow.refresh_from_db()
    assert flow.mapping is not None
    remap(flow, alice, flow.mapping.spec["fields"])
    assert missing(flow) == {"Every edge case passes with this mapping"}


def test_gate_before_parallel(flow: Flow) -> None:
    stand(flow, Stage.PILOT)
    Flow.objects.update(targets={"pilot_count": 1})
    assert missing(flow) == {"Enough of the pilot has been posted"}
    shadow(flow, invoice("1"), state=Posting.State.POSTED)
    assert missing(flow) == set()
    RecordOutcome.objects.update(state=RecordOutcome.State.HELD)
    assert missing(flow) == {"Enough of the pilot has been posted", "Nothing of the pilot waits for a person"}


@pytest.fixture
def compared(flow: Flow) -> Iterator[Flow]:
    """Fifty sales that agree: every condition for going live is met."""
    agreed(flow, 50)
    assert missing(flow) == set()
    yield flow


def test_open_critical_difference_closes_the_gate_until_it_is_decided(compared: Flow, alice: User) -> None:
    entry(compared, invoice("again", reference="#1000"))
    pair_flow(flow=compared)
    assert missing(compared) == {"No critical difference is open"}
    chosen = Pair.objects.filter(verdict=Verdict.DUPLICATE_IN_THEIRS).values_list("pk", flat=True)
    resolve_pairs(flow=compared, pair_ids=chosen, resolution="ours_right", reason="Staff void one", user=alice)
    assert missing(compared) == set()


def test_low_agreement_closes_the_gate_by_count_and_by_money(compared: Flow) -> None:
    for name in ("2000", "2001"):
        shadow(compared, invoice(name, reference=f"#{name}"))
    pair_flow(flow=compared)
    assert missing(compared) == {
        "Postings and entries agree, by count",
        "Postings and entries agree, by money",
        "No critical difference is open",
    }


def test_money_closes_the_gate_where_the_count_alone_would_not(compared: Flow) -> None:
    Flow.objects.update(targets={"count_rate": "0.9"})
    shadow(compared, invoice("2000", "9000.00", reference="#2000"))
    pair_flow(flow=compared)
    assert "Postings and entries agree, by money" in missing(compared)
    assert "Postings and entries agree, by count" not in missing(compared)


def test_decision_for_our_side_counts_as_agreement(flow: Flow, alice: User) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    pair_flow(flow=flow)
    assert match_rate(flow).by_count == 0
    pair_ids = Pair.objects.values_list("pk", flat=True)
    resolve_pairs(flow=flow, pair_ids=pair_ids, resolution="ours_right", reason="Forgot", user=alice)
    assert match_rate(flow).by_count == 1


def test_period_must_be_long_enough_and_over(compared: Flow) -> None:
    Flow.objects.update(parallel_from=LAST - dt.timedelta(days=2))
    assert "The comparison covers enough days" in missing(compared)
    Flow.objects.update(parallel_until=TODAY)
    assert "The agreed end of the comparison is reached" in missing(compared)


def test_held_record_of_the_period_closes_the_gate(compared: Flow) -> None:
    RecordOutcome.objects.filter(pk=RecordOutcome.objects.values("pk")[:1]).update(state=RecordOutcome.State.HELD)
    assert missing(compared) == {"Every source record of the period is accounted for"}


def test_bookkeeper_cannot_approve_going_live(compared: Flow, bob: User) -> None:
    with pytest.raises(UnableToMove, match="owner or admin"):
        move_flow(flow=compared, to_stage=Stage.LIVE, user=bob, today=TODAY)


def test_going_live_links_what_staff_entered_and_records_the_approver(compared: Flow, alice: User) -> None:
    move = move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY, note="Agreed with the owner")
    assert (move.approved_by, move.note, move.consequences["entries linked"]) == (alice, "Agreed with the owner", 50)
    assert len(move.conditions) == 8
    assert set(Posting.objects.values_list("state", flat=True)) == {Posting.State.LINKED}
    assert set(RecordOutcome.objects.values_list("state", "reason_code")) == {("posted", "linked")}
    assert AuditEntry.objects.filter(action="flow.move").count() == 1
    assert set(Posting.objects.values_list("external_id", flat=True)) == {f"x{place}" for place in range(50)}


def test_nothing_is_planned_again_for_what_was_linked(compared: Flow, alice: User, inside: Tenant) -> None:
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    compared.refresh_from_db()
    assert plan_flow(owner=inside, flow=compared) == 0


def test_what_staff_forgot_is_offered_never_posted(compared: Flow, alice: User) -> None:
    forgotten = shadow(compared, invoice("2000", reference="#2000"))
    pair_flow(flow=compared)
    Pair.objects.filter(posting=forgotten).update(resolution=Pair.Resolution.OURS_RIGHT)
    move = move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    outcome = RecordOutcome.objects.get(record=forgotten.record)
    assert move.consequences["offered as catch-up"] == 1
    assert (outcome.state, outcome.reason_code, outcome.is_replay_asked) == ("held", "catch_up", False)
    assert not Posting.objects.filter(state=Posting.State.PLANNED).exists()


def test_entry_in_another_currency_is_named_for_the_bookkeeper(compared: Flow, alice: User) -> None:
    ours = shadow(compared, invoice("2000", reference="#2000"))
    entry(compared, invoice("x2000", number="INV-2613", reference="#2000", currency="EUR"))
    pair_flow(flow=compared)
    Pair.objects.filter(posting=ours).update(resolution=Pair.Resolution.OURS_RIGHT)
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    outcome = RecordOutcome.objects.get(record=ours.record)
    assert (outcome.state, outcome.reason_code) == ("held", "wrong_currency")
    assert outcome.reason == "Staff entered INV-2613 of 10 Oct 2026 in EUR; it was paid in GBP."


def test_what_staff_rightly_left_out_stays_out(compared: Flow, alice: User) -> None:
    left_out = shadow(compared, invoice("2000", reference="#2000"))
    pair_flow(flow=compared)
    chosen = Pair.objects.filter(posting=left_out).values_list("pk", flat=True)
    resolve_pairs(flow=compared, pair_ids=chosen, resolution="theirs_right", reason="A sample", user=alice)
    Flow.objects.update(targets={"count_rate": "0.9", "money_rate": "0.9"})
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    outcome = RecordOutcome.objects.get(record=left_out.record)
    assert (outcome.state, outcome.reason, outcome.decided_by) == ("excluded", "A sample", alice)


def test_sales_after_the_period_are_linked_or_offered_too(compared: Flow, alice: User) -> None:
    """Between the period's end and the approval staff go on entering: nothing of it may be posted twice or be lost."""
    day = dt.date(2026, 11, 10)
    entered = shadow(compared, invoice("3000", reference="#3000", date=day))
    entry(compared, invoice("x3000", reference="#3000", date=day))
    unentered = shadow(compared, invoice("3001", reference="#3001", date=day))
    pair_flow(flow=compared)
    assert not Pair.objects.filter(posting=entered).exists()
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    entered.refresh_from_db()
    assert entered.state == Posting.State.LINKED
    assert RecordOutcome.objects.get(record=unentered.record).reason_code == "catch_up"
    assert not RecordOutcome.objects.filter(state=RecordOutcome.State.SHADOW).exists()


def test_payments_a_draft_pilot_left_to_staff_are_offered(compared: Flow, alice: User) -> None:
    written = shadow(compared, invoice("500", reference="#500"), state=Posting.State.POSTED)
    shadow(compared, payment("p500", reference="#500"), of="500", state=Posting.State.WITHDRAWN)
    RecordOutcome.objects.filter(record=written.record).update(stage=Stage.PILOT)
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    assert RecordOutcome.objects.get(record=written.record).reason_code == "catch_up"


def test_step_back_withdraws_what_was_not_written_and_keeps_what_was(flow: Flow, alice: User) -> None:
    waiting = shadow(flow, invoice("1"), state=Posting.State.PLANNED)
    written = shadow(flow, invoice("2"), state=Posting.State.POSTED)
    move = move_flow(flow=stand(flow, Stage.LIVE), to_stage=Stage.PARALLEL, user=alice, today=TODAY)
    waiting.refresh_from_db()
    written.refresh_from_db()
    assert (waiting.state, written.state) == (Posting.State.WITHDRAWN, Posting.State.POSTED)
    assert move.consequences == {"postings withdrawn": 1, "records looked at again": 1}
    assert RecordOutcome.objects.get(record=waiting.record).is_replay_asked


def test_step_back_from_the_comparison_clears_it(compared: Flow, alice: User) -> None:
    move_flow(flow=compared, to_stage=Stage.PILOT, user=alice, today=TODAY)
    assert not Pair.objects.exists()
    assert StageMove.objects.get().conditions == []


def test_entries_matching_one_sale_are_linked_once(compared: Flow, alice: User) -> None:
    entry(compared, invoice("twin", reference="#1000"))
    pair_flow(flow=compared)
    Pair.objects.filter(verdict=Verdict.DUPLICATE_IN_THEIRS).update(resolution=Pair.Resolution.OURS_RIGHT)
    move_flow(flow=compared, to_stage=Stage.LIVE, user=alice, today=TODAY)
    assert Posting.objects.filter(state=Posting.State.LINKED).count() == 50


def test_pause_and_resume_are_recorded_and_ask_for_work(flow: Flow, alice: User) -> None:
    pause_flow(flow=flow, user=alice)
    flow.refresh_from_db()
    assert flow.is_paused
    WorkItem.objects.all().delete()
    resume_flow(flow=flow, user=alice)
    assert set(WorkItem.objects.values_list("kind", "key")) == {("plan", str(flow.pk)), ("post", str(flow.target_id))}
    assert list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True)) == [
        "flow.paused",
        "flow.resumed",
    ]


def test_another_rule_for_closed_books_looks_at_held_records_again(flow: Flow, alice: User) -> None:
    shadow(flow, invoice("1"))
    RecordOutcome.objects.update(state="held", reason_code="closed_period")
    assert not change_choices(flow=flow, closed_period="hold", pilot_documents="drafts", user=alice)
    assert change_choices(flow=flow, closed_period="next_open", pilot_documents="drafts", user=alice)
    assert RecordOutcome.objects.get().is_replay_asked


def test_decision_needs_a_reason_and_something_to_decide(flow: Flow, alice: User) -> None:
    agreed(flow)
    pair_ids = list(Pair.objects.values_list("pk", flat=True))
    with pytest.raises(UnableToResolve, match="why"):
        resolve_pairs(flow=flow, pair_ids=pair_ids, resolution="accepted", reason=" ", user=alice)
    with pytest.raises(UnableToResolve, match="at least one"):
        resolve_pairs(flow=flow, pair_ids=pair_ids, resolution="accepted", reason="A match", user=alice)


def test_conditions_name_what_is_wanted(flow: Flow) -> None:
    found: list[Condition] = conditions(stand(flow, Stage.PARALLEL), TODAY)
    assert all(condition.found and condition.wanted for condition in found)
