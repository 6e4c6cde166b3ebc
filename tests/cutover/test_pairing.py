"""Every shadow posting beside what staff entered, each with exactly one verdict."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.cutover.models import Pair, Verdict
from marketplace.cutover.operations import resolve_pairs
from marketplace.cutover.pairing import pair_flow
from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting
from marketplace.sync.models import Record
from tenants.models import User
from tests.cutover.world import FIRST, LAST, entry, invoice, payment, shadow

DAY = dt.date(2026, 10, 10)


def verdicts(flow: Flow) -> list[tuple[str, Decimal]]:
    pair_flow(flow=flow)
    return sorted((pair.verdict, pair.money) for pair in Pair.objects.filter(flow=flow))


@pytest.mark.parametrize(
    ("theirs", "verdict", "money"),
    [
        ({}, Verdict.MATCH, "120.00"),
        ({"amount": "129.00"}, Verdict.AMOUNT, "9.00"),
        ({"tax": "0.00"}, Verdict.TAX, "20.00"),
        ({"date": dt.date(2026, 10, 13)}, Verdict.DATE, "120.00"),
        ({"date": dt.date(2026, 11, 2)}, Verdict.TIMING, "120.00"),
        ({"ledger_account": "260"}, Verdict.LEDGER_ACCOUNT, "120.00"),
        ({"currency": "EUR"}, Verdict.CURRENCY, "120.00"),
        ({"party": "Walk-in customer"}, Verdict.PARTY, "120.00"),
    ],
)
def test_difference_gets_its_own_verdict(flow: Flow, theirs: dict[str, Any], verdict: str, money: str) -> None:
    shadow(flow, invoice("1", reference="Shopify #1001"))
    entry(flow, invoice("x", **{"reference": "Shopify #1001", **theirs}))
    assert verdicts(flow) == [(verdict, Decimal(money))]


def test_what_staff_forgot_is_missing_in_theirs(flow: Flow) -> None:
    shadow(flow, invoice("1", reference="Shopify #1001"))
    entry(flow, invoice("x", reference="Shopify #1002", amount="5.00", party="Somebody else", ledger_account="999"))
    assert verdicts(flow) == [(Verdict.MISSING_IN_THEIRS, Decimal("120.00"))]


def test_entry_without_an_order_is_missing_in_ours(flow: Flow) -> None:
    shadow(flow, invoice("1", reference="Shopify #1001"))
    entry(flow, invoice("x", reference="Shopify #1001"))
    entry(flow, invoice("y", "77.00", reference="Shopify #5555"))
    assert verdicts(flow) == [(Verdict.MATCH, Decimal("120.00")), (Verdict.MISSING_IN_OURS, Decimal("77.00"))]


def test_second_entry_of_the_same_order_is_a_duplicate(flow: Flow) -> None:
    shadow(flow, invoice("1", reference="Shopify #1001"))
    entry(flow, invoice("x", reference="Shopify #1001"))
    entry(flow, invoice("y", reference="shop 1001"))
    assert verdicts(flow) == [(Verdict.DUPLICATE_IN_THEIRS, Decimal("120.00")), (Verdict.MATCH, Decimal("120.00"))]


def test_equal_part_payments_pair_one_by_one(flow: Flow) -> None:
    shadow(flow, payment("1", reference="#1001"), of="1001")
    shadow(flow, payment("2", reference="#1001"), of="1001")
    entry(flow, payment("x", reference="#1001"))
    entry(flow, payment("y", reference="#1001"))
    assert verdicts(flow) == [(Verdict.MATCH, Decimal("60.00"))] * 2


def test_equal_sales_without_a_number_all_find_their_entry(flow: Flow) -> None:
    for name in "123":
        shadow(flow, invoice(name))
        entry(flow, invoice(f"x{name}"))
    assert verdicts(flow) == [(Verdict.MATCH, Decimal("120.00"))] * 3


def test_reference_counts_for_more_than_an_equal_number(flow: Flow) -> None:
    """The ledger numbers its invoices itself: INV-1001 need not be order 1001."""
    ours = shadow(flow, invoice("1205", "50.00", number="1205", reference="#1205"))
    other = shadow(flow, invoice("1001", "80.00", number="1001", reference="#1001"))
    found = entry(flow, invoice("x", "55.00", number="INV-1001", reference="#1205"))
    pair_flow(flow=flow)
    assert Pair.objects.get(posting=ours).entry == found
    assert Pair.objects.get(posting=other).verdict == Verdict.MISSING_IN_THEIRS


def test_repayment_never_pairs_with_a_payment(flow: Flow) -> None:
    shadow(flow, payment("1", reference="#1001"))
    shadow(flow, payment("2", reference="#1002", settles="credit_note"))
    entry(flow, payment("x", reference="#1001", settles="credit_note"))
    assert [name for name, _ in verdicts(flow)] == [
        Verdict.MISSING_IN_OURS,
        Verdict.MISSING_IN_THEIRS,
        Verdict.MISSING_IN_THEIRS,
    ]


def test_our_own_entries_never_count_as_theirs(flow: Flow) -> None:
    shadow(flow, invoice("9", reference="#1009"), state=Posting.State.POSTED)
    entry(flow, invoice("9", reference="#1009"))
    shadow(flow, invoice("1", reference="#1001"))
    assert verdicts(flow) == [(Verdict.MISSING_IN_THEIRS, Decimal("120.00"))]


def test_deleted_entry_is_no_entry(flow: Flow) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    found = entry(flow, invoice("x", reference="#1001"))
    Record.objects.filter(pk=found.pk).update(is_deleted=True)
    assert verdicts(flow) == [(Verdict.MISSING_IN_THEIRS, Decimal("120.00"))]


def test_comparing_again_keeps_what_was_decided(flow: Flow, alice: User) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    entry(flow, invoice("x", "129.00", reference="#1001"))
    pair_flow(flow=flow)
    pair = Pair.objects.get(flow=flow)
    resolve_pairs(flow=flow, pair_ids=[pair.pk], resolution="ours_right", reason="Typing error", user=alice)
    result = pair_flow(flow=flow)
    pair.refresh_from_db()
    assert (pair.resolution, pair.resolution_reason, result.changed) == ("ours_right", "Typing error", 0)


def test_decision_ends_when_the_figures_change(flow: Flow, alice: User) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    found = entry(flow, invoice("x", "129.00", reference="#1001"))
    pair_flow(flow=flow)
    resolve_pairs(
        flow=flow, pair_ids=Pair.objects.values_list("pk", flat=True), resolution="accepted", reason="Fee", user=alice
    )
    Record.objects.filter(pk=found.pk).update(amount=Decimal("140.00"))
    pair_flow(flow=flow)
    assert Pair.objects.get(flow=flow).resolution == "open"


def test_differences_are_told_field_by_field(flow: Flow) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    found = entry(flow, invoice("x", "129.00", reference="#1001"))
    pair_flow(flow=flow)
    assert Pair.objects.get().differences == [{"field": "Amount", "ours": "120.00", "theirs": "129.00"}]
    Record.objects.filter(pk=found.pk).update(occurred_on=dt.date(2026, 10, 11))
    pair_flow(flow=flow)
    assert [one["field"] for one in Pair.objects.get().differences] == ["Amount", "Date"]


@pytest.mark.parametrize("missing", ["posting", "entry", "flow"])
def test_pair_of_what_is_not_there_is_refused(flow: Flow, missing: str) -> None:
    shadow(flow, invoice("1", reference="#1001"))
    entry(flow, invoice("x", reference="#1001"))
    pair_flow(flow=flow)
    nobody = uuid.uuid4() if missing == "flow" else -1
    for write in (_insert, _update):
        with pytest.raises(IntegrityError, match="1 pairs refer to what is not there"), transaction.atomic():
            write({f"{missing}_id": nobody})


def _insert(changed: dict[str, Any]) -> None:
    pair = Pair.objects.get()
    Pair.objects.all().delete()
    Pair.objects.bulk_create([Pair(**{**_values(pair), **changed})])


def _update(changed: dict[str, Any]) -> None:
    Pair.objects.update(**changed)


def _values(pair: Pair) -> dict[str, Any]:
    return {field.attname: getattr(pair, field.attname) for field in Pair._meta.concrete_fields if field.name != "id"}


@pytest.mark.parametrize("table", ["posting_posting", "sync_record", "mapping_flow"])
def test_what_a_pair_refers_to_stays(flow: Flow, table: str) -> None:
    """By whatever way it is deleted. Other tables refer to some of it too, but they look only at the end of the transaction."""
    ours = shadow(flow, invoice("1", reference="#1001"))
    theirs = entry(flow, invoice("x", reference="#1001"))
    pair_flow(flow=flow)
    of_it: dict[str, int | uuid.UUID] = {"posting_posting": ours.pk, "sync_record": theirs.pk, "mapping_flow": flow.pk}
    deletion = f"DELETE FROM {table} WHERE id = %s"
    with pytest.raises(IntegrityError, match=f"1 pairs still refer to {table}"), transaction.atomic():
        _execute(deletion, of_it[table])
    Pair.objects.all().delete()
    with transaction.atomic():
        _execute(deletion, of_it[table])
        transaction.set_rollback(True)


def _execute(statement: str, value: int | uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [value])


sides = st.lists(
    st.tuples(
        st.sampled_from(["", "#1001", "#1002", "#1003"]),
        st.sampled_from(["60.00", "120.00"]),
        st.integers(0, 30).map(lambda days: FIRST + dt.timedelta(days=days)),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=sides.filter(bool), theirs=sides)
def test_every_posting_and_every_entry_has_exactly_one_verdict(
    flow: Flow, ours: list[tuple[str, str, dt.date]], theirs: list[tuple[str, str, dt.date]]
) -> None:
    for model in (Pair, Posting, Record):
        related = model.objects.all() if model is not Record else Record.objects.filter(connection=flow.target)
        related.delete()
    for place, (reference, amount, date) in enumerate(ours):
        shadow(flow, invoice(f"o{place}", amount, reference=reference, date=date))
    for place, (reference, amount, date) in enumerate(theirs):
        entry(flow, invoice(f"t{place}", amount, reference=reference, date=date))
    pair_flow(flow=flow)
    pairs = list(Pair.objects.all())
    assert sorted(p.posting_id for p in pairs if p.posting_id) == sorted(Posting.objects.values_list("pk", flat=True))
    entries = Record.objects.filter(connection=flow.target, occurred_on__range=(FIRST, LAST))
    assert sorted(p.entry_id for p in pairs if p.entry_id) == sorted(entries.values_list("pk", flat=True))
    before = {(p.posting_id, p.entry_id, p.verdict) for p in pairs}
    assert pair_flow(flow=flow).changed == 0
    assert {(p.posting_id, p.entry_id, p.verdict) for p in Pair.objects.all()} == before
