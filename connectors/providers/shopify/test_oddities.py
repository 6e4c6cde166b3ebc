"""What is peculiar to Shopify: points, bulk operations, refunds without a list, signed callbacks, rotating tokens."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from connectors.providers.shopify import bulk, client, nodes, reading, streams
from connectors.providers.shopify.amounts import Unreadable, shared_out
from connectors.providers.shopify.listing import PAGES_BEFORE_BULK
from connectors.providers.shopify.queries import ORDER, ORDERS, REFUND
from connectors.providers.shopify.simulated_world import KESTREL, PLACED, World, all_records, refund_of, sale
from connectors.providers.shopify.simulator_bulk import InvalidBulkQuery, export_of
from connectors.providers.shopify.simulator_shop import money
from connectors.providers.shopify.streams import Customers, Orders, Payouts, Refunds
from connectors.providers.shopify.webhooks import WEBHOOKS
from connectors.sdk.client import dump_json
from connectors.sdk.errors import ConfigurationError, RateLimited, ReconnectRequired, UnexpectedResponse
from connectors.sdk.records import Customer, Order, Party, SaleLine, Tax
from connectors.sdk.streams import RejectedRow
from connectors.testing.faults import Fault


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.http.close()
    made.simulator.close()


# ---------------------------------------------------------------------- points


def test_points_are_foreseen_exactly_and_every_query_is_affordable(world: World) -> None:
    """What the connector takes from its budget is what Shopify's rules ask for."""
    asked: list[int] = []

    def note(response: httpx.Response) -> None:
        cost = response.json().get("extensions", {}).get("cost") if b"extensions" in response.read() else None
        if cost:
            asked.append(cost["requestedQueryCost"])

    world.http.event_hooks["response"] = [note]
    world.plant(sale(1001, 40), Customer(id="5", name="Alice Harrow", email="alice@harrow.example"))
    world.plant(refund_of(sale(1001, 40), 77))
    cursor = {"updated_at": "2026-10-01T00:00:00Z"}
    for stream in (Orders(), Customers(), Payouts()):
        list(stream.pages(world.client, cursor))
        list(stream.pages(world.client, None))
        stream.fetch(world.client, ["1001", "5"])
    WEBHOOKS.subscribe(world.client, "https://tieout.example/hooks")
    WEBHOOKS.unsubscribe(world.client, "https://tieout.example/hooks")
    assert world.points.spent == asked
    assert max(asked) <= 1000
    assert world.points.reported[-1][1] == 100.0


def test_a_throttled_query_waits_for_its_points(world: World) -> None:
    world.plant(sale(1001))
    bucket = world.simulator.bucket(KESTREL, capacity=2000.0, restore_per_second=100.0)
    bucket.take(1995)
    (found,) = Orders().fetch(world.client, ["1001"]).records
    assert found.external_id == "1001"
    assert world.waited == [pytest.approx((ORDER.each - 5) / 100)]
    assert world.simulator.counts["refused_429"] == 1


def test_too_long_a_wait_is_left_to_the_engine(world: World) -> None:
    world.simulator.faults.add(Fault(match="POST /shops", kind="status", status=429, seconds=90))
    with pytest.raises(RateLimited) as caught:
        Orders().fetch(world.client, ["1001"])
    assert caught.value.retry_after >= 90
    assert world.waited == []


# ---------------------------------------------------------------------- bulk, pages and ids agree


def test_bulk_pages_and_ids_give_the_same_versions(world: World) -> None:
    """Long orders and refunds need follow-up calls outside of a bulk operation."""
    orders = [sale(1001, 1), sale(1002, 70), sale(1003, 6)]
    world.plant(*orders, *(refund_of(order, 70 + place) for place, order in enumerate(orders)))
    in_bulk = all_records(Orders().pages(world.client, None))
    paged = all_records(Orders().pages(world.client, {"updated_at": "2026-10-01T00:00:00Z"}))
    by_id = {
        ("order", found.external_id): found.version
        for found in Orders().fetch(world.client, ["1001", "1002", "1003"]).records
        if isinstance(found.record, Order)
    }
    refunds = {
        ("refund", found.external_id): found.version
        for found in Refunds().fetch(world.client, ["70", "71", "72"]).records
    }
    assert len(in_bulk) == 6
    assert in_bulk == paged == {**by_id, **refunds}


def test_first_reading_of_many_orders_takes_few_calls(world: World) -> None:
    orders = [sale(number) for number in range(2000, 3000)]
    world.plant(*orders, *(refund_of(order, place) for place, order in enumerate(orders[:20], 1)))
    before = world.client.calls
    assert len(all_records(Orders().pages(world.client, None))) == 1020
    submit, polls, download, refunds = 1, 1, 1, 2
    assert world.client.calls - before == submit + polls + download + refunds


def test_many_changes_are_read_by_a_bulk_operation(world: World) -> None:
    few = ORDERS.shape.most * PAGES_BEFORE_BULK
    since = {"updated_at": "2026-10-01T00:00:00Z"}
    world.plant(*(sale(number) for number in range(2000, 2000 + few)))
    assert world.calls_of("bulkOperationRunQuery", lambda: list(Orders().pages(world.client, since))) == 0
    world.plant(sale(5000), sale(1, at=PLACED - dt.timedelta(days=30)))
    read: dict[tuple[str, str], str] = {}
    calls = world.calls_of(
        "bulkOperationRunQuery", lambda: read.update(all_records(Orders().pages(world.client, since)))
    )
    assert (calls, len(read)) == (1, few + 1)


def test_an_interrupted_bulk_operation_is_waited_for_not_repeated(world: World) -> None:
    world.plant(*(sale(number) for number in range(1001, 1011)))
    started = next(Orders().pages(world.client, None))
    assert started.records == () and not started.is_last
    rest: dict[tuple[str, str], str] = {}
    work = lambda: rest.update(all_records(Orders().pages(world.client, started.cursor)))  # noqa: E731
    assert world.calls_of("bulkOperationRunQuery", work) == 0
    assert len(rest) == 10


class FewAtATime(Orders):
    page_size = 4


def test_a_bulk_file_is_gone_on_with_where_it_was_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that end in the middle of a row, with one call for each part and none to ask for the file again."""
    orders = [sale(number, 3) for number in range(1001, 1041)]
    world.plant(*orders, *(refund_of(order, place) for place, order in enumerate(orders[::3], 1)))
    whole = all_records(Orders().pages(world.client, None))
    monkeypatch.setattr(client, "PART_BYTES", 15_000)
    read: dict[tuple[str, str], str] = {}
    pages = FewAtATime().pages(world.client, None)
    for page in (next(pages) for _ in range(3)):
        read |= all_records(iter([page]))
    assert 0 < len(read) < len(whole)
    before = world.simulator.counts["GET /files/<name>"]
    rest: dict[tuple[str, str], str] = {}
    work = lambda: rest.update(all_records(FewAtATime().pages(world.client, page.cursor)))  # noqa: E731
    assert world.calls_of("bulkOperation", work) == 0
    assert world.simulator.counts["GET /files/<name>"] - before > 1
    assert not read.keys() & rest.keys()
    assert read | rest == whole


def test_refunds_of_a_bulk_file_fill_their_queries(world: World) -> None:
    orders = [sale(number) for number in range(1001, 1041)]
    world.plant(*orders, *(refund_of(order, place) for place, order in enumerate(orders[:-4], 1)))
    calls = world.calls_of("query($ids", lambda: list(FewAtATime().pages(world.client, None)))
    assert calls == 36 / REFUND.most


@pytest.mark.parametrize("waiting", [13, 24, 1000])
def test_refunds_that_wait_are_neither_lost_nor_asked_for_twice_wherever_reading_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    monkeypatch.setattr(streams, "REFUNDS_WAITING", waiting)
    monkeypatch.setattr(streams, "REFUNDS_AT_ONCE", 2 * REFUND.most)
    orders = [sale(number) for number in range(1001, 1061)]
    world.plant(*orders, *(refund_of(order, place) for place, order in enumerate(orders[5:], 1)))
    whole = list(FewAtATime().pages(world.client, None))
    assert [page.is_last for page in whole] == [False] * (len(whole) - 1) + [True]
    assert sum(len(page.records) for page in whole) == 60 + 55
    left_each_time = [next(FewAtATime().pages(world.client, None))]
    while not left_each_time[-1].is_last:
        left_each_time.append(next(FewAtATime().pages(world.client, left_each_time[-1].cursor)))
    assert all_records(iter(left_each_time)) == all_records(iter(whole))
    assert sum(len(page.records) for page in left_each_time) == 60 + 55
    assert left_each_time[-1].cursor == whole[-1].cursor
    assert whole[-1].cursor.keys() == {"updated_at"}


def test_a_short_list_is_one_call_and_a_long_one_a_bulk_operation(world: World) -> None:
    world.plant(*(Customer(id=str(number), name=f"Customer {number}") for number in range(1, 200)))
    before = world.client.calls
    assert len(all_records(Customers().pages(world.client, None))) == 199
    assert list(Payouts().pages(world.client, None))[-1].is_last
    assert world.client.calls - before == 2
    world.plant(*(Customer(id=str(number), name=f"Customer {number}") for number in range(200, 1100)))
    page, submit, poll, file = 1, 1, 1, 1
    before = world.client.calls
    assert len(all_records(Customers().pages(world.client, None))) == 1099
    assert world.client.calls - before == page + submit + poll + file


def test_an_address_that_is_no_longer_good_is_asked_for_again(world: World) -> None:
    world.plant(*(sale(number) for number in range(1001, 1011)))
    pages = FewAtATime().pages(world.client, None)
    first = [next(pages), next(pages)]
    cursor = {**first[-1].cursor, "url": f"{world.client.access.simulator}/files/expired.jsonl"}
    rest = all_records(FewAtATime().pages(world.client, cursor))
    assert len(all_records(iter(first))) + len(rest) == 10


def test_storage_that_knows_no_parts_sends_everything(world: World) -> None:
    world.plant(*(sale(number) for number in range(1001, 1011)))
    pages = FewAtATime().pages(world.client, None)
    first = [next(pages), next(pages)]
    send = world.http.build_request
    world.http.build_request = lambda *args, headers=None, **kwargs: send(  # type: ignore[method-assign]
        *args, headers={k: v for k, v in (headers or {}).items() if k != "Range"}, **kwargs
    )
    rest = all_records(FewAtATime().pages(world.client, first[-1].cursor))
    assert len(all_records(iter(first))) + len(rest) == 10


def rows_of(world: World, *lines: str) -> list[tuple[str, str, bulk.Place]]:
    """What a bulk operation's file with these lines holds."""

    class File:
        def download(self, url: str, at: int) -> Iterator[tuple[int, str, nodes.Line]]:
            for line in lines:
                at += len(line.encode()) + 1
                yield at, line, nodes.LINE.decode(line)

    file: Any = File()
    return list(bulk.rows(file, "file", ORDER, begin=bulk.Place(), lines=len(lines)))


def test_a_row_of_a_bulk_file_is_kept_as_it_came(world: World) -> None:
    """Put together from lines without being written anew: spaces, escapes and digits stay, only the parent's name goes."""
    parent = '{"id":"gid:\\/\\/shopify\\/Order\\/1", "note":"Caf\\u00e9", "updatedAt":"2026-10-03T09:15:00Z"}'
    first = '{"id":"gid://shopify/LineItem/11","rate":0.200,"__parentId":"gid://shopify/Order/1"}'
    second = '{"__parentId":"gid://shopify/Order/1","id":"gid://shopify/LineItem/12","rate":1e-1}'
    ((row, stamped, place),) = rows_of(world, parent, first, second)
    assert row == (
        parent[:-1] + ',"lineItems":[{"id":"gid://shopify/LineItem/11","rate":0.200},'
        '{"id":"gid://shopify/LineItem/12","rate":0.1}],"shippingLines":[]}'
    )
    assert (stamped, place) == ("2026-10-03T09:15:00Z", bulk.Place(len(parent) + len(first) + len(second) + 3, 3))


@pytest.mark.parametrize("stamp", ["null", "5", '""'])
def test_a_row_without_its_time_of_change_stops_no_other(world: World, stamp: str) -> None:
    good = '{"id":"gid://shopify/Order/2","updatedAt":"2026-10-03T09:15:00Z"}'
    found = rows_of(world, f'{{"id":"gid://shopify/Order/1","updatedAt":{stamp}}}', good)
    assert [stamped for _, stamped, _ in found] == ["", "2026-10-03T09:15:00Z"]
    assert [Orders().row(row).external_id for row, _, _ in found] == ["1", "2"]


def test_an_id_that_is_none_is_a_row_that_cannot_be_read(world: World) -> None:
    ((row, _, _),) = rows_of(world, '{"id":null,"updatedAt":"2026-10-03T09:15:00Z"}')
    read = Orders().row(row)
    assert isinstance(read, RejectedRow)
    assert read.external_id == "" and "shape we do not know" in read.reason


@pytest.mark.parametrize(
    "id", ["gid://shopify/Surprise/11", "gid://shopify//11", "gid://shopify", "", "a/b/c/LineItem"]
)
def test_a_child_that_was_not_asked_for_is_said_in_words(world: World, id: str) -> None:
    child = f'{{"id":"{id}","__parentId":"gid://shopify/Order/1"}}'
    with pytest.raises(UnexpectedResponse, match="not asked for"):
        rows_of(world, '{"id":"gid://shopify/Order/1"}', child)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"totalPriceSet": {"shopMoney": {"amount": "a lot"}}}, "Shopify sent 'a lot' where an amount belongs"),
        ({"totalPriceSet": {"shopMoney": "10.00"}}, "in a shape we do not know"),
        ({"updatedAt": "2026-10-03T09:15:00"}, "without its time zone"),
        ({"lineItems": None}, "in a shape we do not know"),
    ],
)
def test_an_order_that_cannot_be_read_is_kept_with_the_reason(world: World, damage: Any, words: str) -> None:
    raw = {**order_body(world, sale(1001)), **damage}
    found = Orders().row(dump_json(raw).decode())
    assert isinstance(found, RejectedRow)
    assert (found.external_id, found.raw) == ("1001", raw)
    assert words in found.reason


def test_a_bulk_operation_that_is_gone_is_started_again(world: World) -> None:
    world.plant(sale(1001))
    started = next(Orders().pages(world.client, None))
    world.simulator.shop(KESTREL).all("BulkOperation").clear()
    assert ("order", "1001") in all_records(Orders().pages(world.client, started.cursor))


def test_a_slow_bulk_operation_does_not_hold_a_worker(world: World) -> None:
    world.plant(sale(1001))
    world.client.access.sleep = lambda seconds: None
    with pytest.raises(RateLimited) as caught:
        list(Orders().pages(world.client, None))
    assert caught.value.retry_after == bulk.LATER_SECONDS


def test_a_file_of_many_rows_is_not_asked_for_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a first page has told how many there are; never later than an unknown number would be asked for."""
    monkeypatch.setattr(bulk, "ROWS_PER_SECOND", 10)
    world.plant(*[sale(number) for number in range(1001, 1041)])
    since = {"updated_at": "2026-01-01T00:00:00Z"}
    assert len(all_records(Orders().pages(world.client, since))) == 40
    assert world.waited == [4.0]
    monkeypatch.setattr(bulk, "ROWS_PER_SECOND", 1)
    assert len(all_records(Orders().pages(world.client, since))) == 40
    assert world.waited == [4.0, 6.0]


def test_changes_during_a_bulk_operation_are_read_again(world: World) -> None:
    world.plant(sale(1001), sale(1002))
    pages = list(Orders().pages(world.client, None))
    changed_at = world.simulator.now()
    world.plant(sale(1001, at=PLACED, updated_at=changed_at, note="Paid by phone"))
    again = [found for page in Orders().pages(world.client, pages[-1].cursor) for found in page.records]
    assert "Paid by phone" in [found.record.note for found in again if isinstance(found.record, Order)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("{ shop { name } }", "at least one connection"),
        ("{ orders { edges { node { id refunds { refundLineItems { edges { node { id } } } } } } } }", "list field"),
        ("{ orders { edges { node { id nonsense } } } }", "Invalid bulk query"),
        ("{ orders { edges { node { id } } } customers { edges { node { id } } } }", "top level"),
    ],
)
def test_the_simulator_refuses_the_bulk_queries_shopify_refuses(query: str, words: str) -> None:
    with pytest.raises(InvalidBulkQuery, match=words):
        export_of(query)


# ---------------------------------------------------------------------- rights


def test_a_right_not_granted_is_a_matter_of_settings() -> None:
    world = World(scopes=("read_customers",))
    for work in (
        lambda: Orders().fetch(world.client, ["1001"]),
        lambda: list(Orders().pages(world.client, {"updated_at": "2026-10-01T00:00:00Z"})),
        lambda: list(Payouts().pages(world.client, None)),
    ):
        world.plant(sale(1001))
        with pytest.raises(ConfigurationError, match="Reconnect and allow"):
            work()


def test_without_the_right_to_all_orders_only_sixty_days_are_seen() -> None:
    world = World(scopes=("read_orders",))
    now = world.simulator.now()
    world.plant(sale(1001, at=now - dt.timedelta(days=61)), sale(1002, at=now - dt.timedelta(days=59)))
    assert set(all_records(Orders().pages(world.client, None))) == {("order", "1002")}


@pytest.mark.parametrize(
    ("status", "error"), [(402, ConfigurationError), (404, ReconnectRequired), (423, ConfigurationError)]
)
def test_a_shop_that_is_closed_is_explained(world: World, status: int, error: type[Exception]) -> None:
    world.simulator.faults.add(Fault(match="POST /shops", kind="status", status=status, times=9))
    with pytest.raises(error):
        Orders().fetch(world.client, ["1001"])


# ---------------------------------------------------------------------- odd orders


def order_body(world: World, order: Order) -> dict[str, Any]:
    world.plant(order)
    body: dict[str, Any] = Orders().fetch(world.client, [order.id]).records[0].raw_body
    return body


def read_order(raw: dict[str, Any]) -> Order:
    return reading.read_order(nodes.ORDER.decode(dump_json(raw)))


def test_a_cent_lost_in_conversion_becomes_a_rounding_line(world: World) -> None:
    raw = order_body(world, sale(1001, 2))
    raw["totalPriceSet"] = {"shopMoney": money(Decimal("20.03"), "GBP")}
    order = read_order(raw)
    assert (order.lines[-1].kind, order.lines[-1].amount) == ("rounding", Decimal("0.01"))
    assert sum(line.amount for line in order.lines) == order.total


def test_an_order_that_does_not_add_up_is_set_aside(world: World) -> None:
    raw = order_body(world, sale(1001, 2))
    raw["totalPriceSet"] = {"shopMoney": money(Decimal("25.00"), "GBP")}
    with pytest.raises(Unreadable, match=r"add up to 20\.02, but Shopify's total is 25\.00"):
        read_order(raw)


def test_a_tip_listed_among_the_items_is_not_counted_twice(world: World) -> None:
    tip = SaleLine(description="Tip", amount=Decimal("2.00"))
    raw = order_body(world, sale(1001, total=Decimal("12.01"), lines=(*sale(1).lines, tip)))
    raw["totalTipReceivedSet"] = {"shopMoney": money(Decimal("2.00"), "GBP")}
    assert [line.kind for line in read_order(raw).lines] == ["item", "tip"]


def test_tax_a_channel_pays_itself_is_named_so(world: World) -> None:
    taxed = SaleLine(
        description="Mug",
        amount=Decimal("10.00"),
        taxes=(Tax(name="GST", rate=Decimal("0.1"), amount=Decimal("1.00")),),
    )
    raw = order_body(world, sale(1001, total=Decimal("11.00"), lines=(taxed,)))
    raw["lineItems"][0]["taxLines"][0]["channelLiable"] = True
    assert read_order(raw).lines[0].taxes[0].name == "GST (paid by the sales channel)"


def test_a_guest_and_a_test_order_are_told_apart(world: World) -> None:
    raw = order_body(world, sale(1001, is_test=True, customer=Party(name="Bob Reed", country="FR"), country="DE"))
    order = read_order(raw)
    assert order.is_test
    assert (order.customer.id, order.customer.name, order.customer.country, order.country) == (
        "",
        "Bob Reed",
        "FR",
        "DE",
    )


def test_only_money_that_moved_is_a_payment(world: World) -> None:
    raw = order_body(world, sale(1001))
    sold = raw["transactions"][0]
    raw["transactions"] = [
        {**sold, "id": "gid://shopify/OrderTransaction/1", "kind": "AUTHORIZATION"},
        {**sold, "id": "gid://shopify/OrderTransaction/2", "status": "FAILURE"},
        {**sold, "id": "gid://shopify/OrderTransaction/3", "kind": "CAPTURE"},
    ]
    assert [paid.id for paid in read_order(raw).payments] == ["3"]


def test_a_cancelled_order_says_so_whatever_was_paid(world: World) -> None:
    assert read_order(order_body(world, sale(1001, status="cancelled"))).status == "cancelled"


def test_refunded_tax_is_shared_out_to_the_last_cent() -> None:
    state = Tax(name="State", rate=Decimal("0.0625"), amount=Decimal("6.25"))
    county = Tax(name="County", rate=Decimal("0.01"), amount=Decimal("1.00"))
    shares = shared_out(Decimal("3.33"), (state, county))
    assert [(tax.name, tax.amount) for tax in shares] == [("State", Decimal("2.87")), ("County", Decimal("0.46"))]
