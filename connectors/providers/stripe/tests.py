"""Stripe against the contract, and what only Stripe's lists, payouts and customers need."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from connectors.providers.stripe.client import StripeClient
from connectors.providers.stripe.planting import DAY, MOMENT, draft, order, payout, plant, refund_of
from connectors.providers.stripe.simulator import StripeSimulator
from connectors.providers.stripe.writing import clause
from connectors.sdk.errors import (
    RecordRejected,
    UnexpectedResponse,
)
from connectors.sdk.records import (
    Address,
    BalanceTransaction,
    Customer,
    Payout,
    Record,
)
from connectors.sdk.streams import Written, form_content
from connectors.testing.contract import Bench, ConnectorContract


class TestStripe(ConnectorContract):
    slug = "stripe"
    not_seeded = frozenset({"company"})
    # A charge knows its sum and nothing of what was sold.
    not_kept = {
        "order": frozenset({"tax_total", "shipping_total", "lines"}),
        "refund": frozenset({"tax_total", "lines"}),
    }

    def sample(self, bench: Bench, data_type: str, position: int) -> Record:
        if data_type == "balance_transaction":
            return monthly_fee(bench, position)
        return super().sample(bench, data_type, position)

    def test_movements_of_the_same_moment_are_not_lost(self, bench: Bench) -> None:
        """Movements have no events, so the window of the listing alone has to catch them."""
        cursor = list(bench.pages("balance_transaction"))[-1].cursor
        bench.pass_time(2)
        later = self.seed(bench, "balance_transaction", 5)
        assert {found.external_id for found in bench.read("balance_transaction", cursor)} >= set(later)


def monthly_fee(bench: Bench, position: int) -> BalanceTransaction:
    amount = Decimal("-1234567.89") - position
    moment = bench.simulator.now().replace(microsecond=0)
    return BalanceTransaction(
        id="",
        kind="stripe_fee",
        occurred_at=moment,
        currency=bench.currency,
        amount=amount,
        fee=Decimal("0.00"),
        net=amount,
    )


def test_two_thousand_payments_take_twenty_calls(bench: Bench) -> None:
    plant(bench, *(order(number, at=MOMENT + dt.timedelta(seconds=number)) for number in range(2000)))
    pages = list(bench.pages("order"))
    assert sum(len(page.records) for page in pages) == 2000
    assert bench.client.calls == 20


def test_a_check_without_news_takes_two_calls(bench: Bench) -> None:
    plant(bench, *(order(number) for number in range(5)))
    cursor = list(bench.pages("order"))[-1].cursor
    bench.pass_time(1200)
    assert bench.calls_during(lambda: list(bench.pages("order", cursor))) == 2


def test_many_old_changes_take_few_calls(bench: Bench) -> None:
    plant(bench, *(order(number, at=MOMENT + dt.timedelta(minutes=number)) for number in range(250)))
    cursor = list(bench.pages("order"))[-1].cursor
    bench.pass_time(1200)
    touched = [f"ch_{number}" for number in range(0, 250, 5)]
    plant(bench, *(order(number, note="Changed") for number in range(0, 250, 5)))
    arrived: list[str] = []
    calls = bench.calls_during(lambda: arrived.extend(found.external_id for found in bench.read("order", cursor)))
    assert sorted(arrived) == sorted(touched)
    assert calls == 2 + 3, "the listing, the events, and three pages that hold all fifty"


def test_a_payment_entered_late_arrives(bench: Bench) -> None:
    """Its time of creation lies before the window of the check."""
    plant(bench, order(1), order(2))
    cursor = list(bench.pages("order"))[-1].cursor
    bench.pass_time(DAY)
    plant(bench, order(3))
    assert [found.external_id for found in bench.read("order", cursor)] == ["ch_3"]


def test_after_a_long_break_everything_is_read_again(bench: Bench) -> None:
    plant(bench, order(1), order(2))
    cursor = list(bench.pages("order"))[-1].cursor
    bench.pass_time(DAY)
    plant(bench, order(1, note="Nobody asked for this change while it could be told"))
    bench.pass_time(31 * DAY)
    plant(bench, order(3))
    pages = list(bench.pages("order", cursor))
    assert {found.external_id for page in pages for found in page.records} == {"ch_1", "ch_2", "ch_3"}
    assert pages[-1].is_last


def test_webhooked_payments_are_fetched_together(bench: Bench) -> None:
    plant(bench, *(order(number, at=MOMENT + dt.timedelta(minutes=number)) for number in range(80)))
    stream, wanted = bench.stream("order"), [f"ch_{number}" for number in range(40)]
    calls = bench.calls_during(lambda: stream.fetch(bench.client, wanted))
    assert calls == 1
    assert len(stream.fetch(bench.client, wanted).records) == 40


def test_payout_is_made_of_the_payments_it_settles(bench: Bench) -> None:
    plant(bench, order(1, fee="0.95"), order(2, total="20.00", fee="0.50"), refund_of("ch_1", "9.99"))
    plant(bench, order(3, at=MOMENT + dt.timedelta(days=2)))
    plant(bench, payout("69.99", "1.45", refunds="9.99"))
    (found,) = bench.read("payout")
    assert isinstance(found.record, Payout)
    assert (found.record.gross, found.record.fees, found.record.refunds) == (
        Decimal("69.99"),
        Decimal("1.45"),
        Decimal("9.99"),
    )
    settled = bench.simulator.store["acct_kestrel/settled"]
    assert isinstance(bench.simulator, StripeSimulator)
    assert [one["source"] for one in bench.simulator.unsettled("acct_kestrel", "GBP")] == ["ch_3"]
    assert len(settled) == 4, "three movements and the payout's own"


def test_payout_that_does_not_add_up_is_kept_aside(bench: Bench) -> None:
    plant(bench, order(1, fee="0.95"), order(2, fee="0.95"), payout("99.98", "1.90"))
    contents = bench.simulator.store["acct_kestrel/payout_contents"]
    held = contents.get("po_1")
    assert held is not None
    contents.put("po_1", {"ids": held["ids"][:-1]})
    (page,) = bench.pages("payout")
    assert page.records == ()
    assert page.rejected[0].reason.endswith("add up to 49.04.")


def test_payout_made_by_hand_is_read_as_one_sum(bench: Bench) -> None:
    plant(bench, order(1, total="100.00", at=bench.simulator.now() - dt.timedelta(days=3)))
    assert isinstance(bench.client, StripeClient)
    bench.client.post("/v1/payouts", form_content([("amount", "9000"), ("currency", "gbp")]))
    calls = bench.client.calls
    (found,) = bench.read("payout")
    assert isinstance(found.record, Payout)
    assert (found.record.gross, found.record.net) == (Decimal("90.00"), Decimal("90.00"))
    assert bench.client.calls == calls + 1, "its contents are not asked for"


def test_disputes_are_adjustments(bench: Bench) -> None:
    plant(bench, payout("100.00", "2.00", refunds="5.00", adjustments="-20.00"))
    (found,) = bench.read("payout")
    assert isinstance(found.record, Payout)
    assert (found.record.adjustments, found.record.net) == (Decimal("-20.00"), Decimal("73.00"))


def test_customer_deleted_later_arrives_as_deleted(bench: Bench) -> None:
    (id,) = plant(bench, Customer(id="", name="Ada Byron"))
    cursor = list(bench.pages("customer"))[-1].cursor
    bench.pass_time(3600)
    bench.writable("customer").void(bench.client, [id])
    (found,) = bench.read("customer", cursor)
    assert (found.external_id, found.is_deleted) == (id, True)
    (fetched,) = bench.stream("customer").fetch(bench.client, [id]).records
    assert fetched == found


def test_a_listing_goes_on_after_its_last_record_was_deleted(bench: Bench) -> None:
    customers = (Customer(id=f"cus_{number}", name=f"Customer {number}") for number in range(7))
    plant(bench, *customers)
    bench.page_size = 3
    first = next(bench.pages("customer"))
    bench.writable("customer").void(bench.client, [first.records[-1].external_id])
    seen = {found.external_id for found in first.records}
    seen |= {found.external_id for found in bench.read("customer", first.cursor)}
    assert seen == {f"cus_{number}" for number in range(7)}


def test_an_update_of_a_changed_customer_is_stale(bench: Bench) -> None:
    (id,) = plant(bench, Customer(id="", name="Ada Byron", email="ada@byron.example"))
    stream = bench.writable("customer")
    (held,) = stream.fetch(bench.client, [id]).records
    plant(bench, Customer(id=id, name="Ada Lovelace", email="ada@byron.example"))
    outcome = stream.update(bench.client, id, draft(Customer(id=id, name="Ada King")), version=held.version)
    assert isinstance(outcome, RecordRejected) and outcome.code == "stale"


def test_an_update_of_one_line_keeps_the_rest_of_the_address(bench: Bench) -> None:
    home = Address(line1="4 Mill Lane", city="Leeds", postal_code="LS1 4AB", country="GB")
    (id,) = plant(bench, Customer(id="", name="Ada Byron", address=home))
    stream = bench.writable("customer")
    change = draft(Customer(id=id, name="Ada Byron", address=Address(line1="5 Mill Lane")))
    assert isinstance(stream.update(bench.client, id, change, version=""), Written)
    (after,) = stream.fetch(bench.client, [id]).records
    assert isinstance(after.record, Customer)
    assert after.record.address == msgspec.structs.replace(home, line1="5 Mill Lane")


def test_a_bad_address_is_said_in_words(bench: Bench) -> None:
    stream = bench.writable("customer")
    (outcome,) = stream.create(bench.client, [draft(Customer(id="", name="Ada", email="no-address"))], key="bad")
    assert isinstance(outcome, RecordRejected)
    assert "e-mail address" in outcome.user_message
    elsewhere = Customer(id="", name="Ada", address=Address(country="England"))
    (outcome,) = stream.create(bench.client, [draft(elsewhere)], key="worse")
    assert isinstance(outcome, RecordRejected)
    assert "two-letter codes" in outcome.user_message


def test_an_older_customer_is_found_by_searching(bench: Bench) -> None:
    stream, wanted = bench.writable("customer"), draft(Customer(id="", name="Ada"), reference="O'Neill \\ 1")
    (outcome,) = stream.create(bench.client, [wanted], key="first")
    bench.pass_time(DAY)
    found = stream.find(bench.client, [wanted, draft(Customer(id="", name="Bob"), key="key-2", reference="C-2")])
    assert isinstance(outcome, Written)
    assert {key: one.external_id for key, one in found.items()} == {"key-1": outcome.external_id}


def test_a_search_quotes_what_it_looks_for() -> None:
    assert clause("it's \\") == r"metadata['tieout_reference']:'it\'s \\'"


def test_after_a_day_a_key_is_forgotten(bench: Bench) -> None:
    stream, wanted = bench.writable("customer"), draft(Customer(id="", name="Ada"))
    (first,) = stream.create(bench.client, [wanted], key="same")
    bench.pass_time(DAY + 1)
    (second,) = stream.create(bench.client, [wanted], key="same")
    assert isinstance(first, Written) and isinstance(second, Written)
    assert first.external_id != second.external_id


def test_one_key_for_two_requests_is_our_mistake(bench: Bench) -> None:
    stream = bench.writable("customer")
    stream.create(bench.client, [draft(Customer(id="", name="Ada"))], key="same")
    with pytest.raises(UnexpectedResponse):
        stream.create(bench.client, [draft(Customer(id="", name="Bob"))], key="same")
