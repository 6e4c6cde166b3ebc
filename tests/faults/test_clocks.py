"""C14: hosts whose clocks are wrong, beside hosts whose clocks are right; the judge is the ledgers' books, and the providers' tokens."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db.models import F
from django.db.models.functions import Now

from connectors.sdk.records import Order
from marketplace.core import clock
from marketplace.installations import operations
from marketplace.installations.models import Connection
from marketplace.posting.models import Posting
from tenants.context import tenant
from tests.benchmarks.driving import Business
from tests.benchmarks.test_calls import XERO
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.processes import workers
from tests.faults.tempo import CLOCKS
from tests.faults.world import World, connect, make_orders, seen_first

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, ORDERS_A_STEP = 15, 10
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
MINUTES, DAY = dt.timedelta(minutes=5), dt.timedelta(days=1)
#: Moments that a wrong clock passes while it works: summer time ends in Europe, starts in America, the year ends.
MOMENTS = (
    dt.datetime(2026, 10, 25, 0, 59, 58, tzinfo=dt.UTC),
    dt.datetime(2027, 3, 14, 6, 59, 58, tzinfo=dt.UTC),
    dt.datetime(2026, 12, 31, 23, 59, 58, tzinfo=dt.UTC),
)


def shifts() -> list[dt.timedelta]:
    """How wrong a clock is."""
    at = dt.datetime.now(dt.UTC)
    return [MINUTES, -MINUTES, DAY, -DAY, *(moment - at for moment in MOMENTS)]


def library_shift(shift: dt.timedelta) -> Mapping[str, str]:
    """For a whole process, down to the C library; time that passes is measured as ever."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{shift.total_seconds():+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def work_beside(world: World, orders: Sequence[Order], crews: Sequence[Clocks], folder: Path) -> None:
    """Orders are placed, tokens run out, and workers of all these clocks are at it together; the first crew has the first few orders
    for itself, so that something surely bears its time."""
    with tenant(world.business.owner):
        before = list(Posting.objects.filter(posted_at__isnull=False).values_list("pk", flat=True))
    first, *others = crews
    steps = [list(orders[start : start + ORDERS_A_STEP]) for start in range(0, len(orders), ORDERS_A_STEP)]
    with ExitStack() as started:
        started.enter_context(workers(first.count, folder, extra=first.environment))
        if others:
            sell(world, steps[:1])
            world.wait()
        for crew in others:
            started.enter_context(workers(crew.count, folder, extra=crew.environment))
        sell(world, steps[1:] if others else steps)
        world.wait()
        world.read()  # a listing under way when the last were placed may have begun before them
        world.wait()
    check(world.business, world.flows, world.orders)
    with tenant(world.business.owner):
        assert set(Connection.objects.values_list("state", flat=True)) == {Connection.State.CONNECTED}
        new = Posting.objects.exclude(pk__in=before).annotate(error=F("posted_at") - Now())
        assert any(abs(error) > MINUTES / 2 for error in new.values_list("error", flat=True)), "no clock was wrong"


def sell(world: World, steps: Sequence[list[Order]]) -> None:
    """Every token has run out before."""
    with tenant(world.business.owner):
        Connection.objects.update(token_expires_at=F("token_expires_at") - DAY)
    for orders in steps:
        world.sell(orders)
        world.read()


@dataclass(frozen=True)
class Clocks:
    """A crew of workers and the environment that makes their clocks wrong."""

    count: int
    environment: Mapping[str, str]


def of_python(shifts: Sequence[dt.timedelta]) -> Clocks:
    """What the product's own code sees, another for each worker; the last is right."""
    seconds = [shift.total_seconds() for shift in shifts]
    return Clocks(len(seconds) + 1, {CLOCKS: json.dumps([*seconds, 0])})


def test_workers_whose_clocks_all_differ_lose_and_repeat_nothing(
    business: Business, simulators: dict[str, str], tmp_path: Path, size: Size, seed: int, tell: Tell
) -> None:
    orders = seen_first(make_orders(SEEN + size.pick(100, 1000), seed))
    world = connect(business, orders[:SEEN])
    wrong = shifts()
    work_beside(world, orders[SEEN:], [of_python(wrong)], tmp_path)
    tell("C14", "workers whose clocks all differ", tried=len(wrong), events=len(orders) * len(world.flows))


@pytest.mark.skipif(not LIBRARY.exists(), reason="libfaketime is not installed")
def test_host_whose_clock_is_wrong_beside_one_whose_clock_is_right_loses_and_repeats_nothing(
    business: Business, simulators: dict[str, str], tmp_path: Path, size: Size, seed: int, tell: Tell
) -> None:
    tried = shifts() * 5 if size.is_release else [DAY, -DAY]
    orders = seen_first(make_orders(SEEN + len(tried) * 2 * ORDERS_A_STEP, seed))
    world = connect(business, orders[:SEEN], ["xero"])
    for number, shift in enumerate(tried):
        start = SEEN + number * 2 * ORDERS_A_STEP
        crews = [Clocks(2, library_shift(shift)), Clocks(1, {})]
        work_beside(world, orders[start : start + 2 * ORDERS_A_STEP], crews, tmp_path)
    tell("C14", "hosts whose clocks are wrong", tried=len(tried), events=len(orders))


@pytest.mark.parametrize("begins, ends", [(-MINUTES, MINUTES), (MINUTES, -MINUTES)])
def test_consent_begun_and_ended_at_hosts_whose_clocks_differ_is_as_good_as_any(
    begins: dt.timedelta,
    ends: dt.timedelta,
    business: Business,
    simulators: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
) -> None:
    right, finish = clock.now, operations.finish_consent

    def set_clock(shift: dt.timedelta) -> None:
        for module in (clock, operations):
            monkeypatch.setattr(module, "now", lambda: right() + shift)

    def finish_elsewhere(**kwargs: object) -> operations.Consent:
        set_clock(ends)
        return finish(**kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("tests.benchmarks.driving.finish_consent", finish_elsewhere)
    set_clock(begins)
    connection = business.connect("xero", XERO)
    assert connection.state == Connection.State.CONNECTED
    tell("C14", "a consent across hosts", tried=1, events=1)
