"""Postings of one ledger on random walks: sold, planned, sent, unheard, late, refused, killed, looked up, held, decided, taken back, restored.

The model is what customers ordered and what was taken back. The judge is the simulator's append-only book: no entry is there twice, and in
the end none is missing. A request that was given up may still arrive within two minutes, as a provider may be that slow.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import hypothesis
import pytest
import redis
from django.conf import settings
from django.db import transaction
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from connectors.testing.faults import Fault
from marketplace.core.restoring import note_restoration
from marketplace.installations.models import Connection
from marketplace.posting.batches import UnableToPost
from marketplace.posting.decisions import accept, post_again
from marketplace.posting.models import Posting, RecordOutcome
from tenants.context import tenant as tenant_context
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.test_machines import TakenBack
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import books, quickbooks  # noqa: F401 -- fixtures
from tests.posting.reversing import confirm, planned, work
from tests.posting.world import Books, order

pytestmark = pytest.mark.faults

LATEST = dt.timedelta(minutes=2)  # after which a request that was given up does not arrive any more
ON_THE_WAY = ("planned", "sending", "uncertain")
DOCUMENTS = ("invoice", "customer_payment")
FAULTS = ("drop_before", "drop_after", "half_body", "429", "503")
FATES = ("well", "well", *FAULTS, "killed before", "killed after", "late", "late")
PAUSES = [
    dt.timedelta(**some) for some in ({"seconds": 5}, {"seconds": 12}, {"minutes": 3}, {"minutes": 91}, {"hours": 25})
]
ROUNDS = 25
TRIED: Counter[str] = Counter()
NUMBERS = itertools.count(2000)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@dataclass
class Wire:
    """Between the writer and the ledger's simulator: what becomes of the next write, and which requests are still on their way."""

    original: Any
    prefix: str = ""
    fate: str = "well"
    late: list[tuple[httpx.Request, dt.timedelta]] = field(default_factory=list)

    def send(self, client: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        fate, is_write = self.fate, request.method in ("PUT", "POST") and request.url.path.startswith(self.prefix)
        if not is_write or fate == "well":
            return self.deliver(client, request, **kwargs)
        self.fate = "well"
        if fate == "killed before":
            raise Killed
        if fate == "late":
            copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            self.late.append((copy, dt.timedelta()))
            raise httpx.ReadTimeout("Nothing came back.", request=request)
        self.deliver(client, request, **kwargs).read()
        raise Killed

    def deliver(self, client: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        answer: httpx.Response = self.original(client, request, **kwargs)
        return answer

    def arrive(self) -> None:
        """The oldest request that was given up reaches the ledger after all."""
        request, _ = self.late.pop(0)
        with httpx.Client() as client:
            self.deliver(client, request)
        TRIED["arrived late"] += 1


class IntentMachine(TakenBack):
    """One ledger. `sold`: the amount of each order, which no other has; `gone`: what was taken back and not asked for again."""

    books: Books
    wire: Wire
    tokens: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.sold: dict[int, Decimal] = {}
        self.gone: set[int] = set()
        self.backup: str | None = None
        self.taken_back = 0
        self.problem = ""  # why the last slice of writing ended early
        self.wire.late.clear()
        self.simulated.faults.clear()
        with self.simulated.lock:
            self.start = max((line["seq"] for line in self.simulated.ledger.after(0)), default=0)
        self._put_tokens_back()
        with redis.Redis.from_url(settings.REDIS_URL) as counted:
            counted.flushdb()

    @property
    def simulated(self) -> Any:
        return self.books.simulator

    def _row(self) -> Any:
        return Connection.objects.filter(pk=self.books.connection.pk)

    def _keep_tokens(self) -> None:
        """The provider has taken the old ones out of use, whatever our database says after it was set back."""
        with tenant_context(self.books.owner):
            self.tokens.update(self._row().values().get())

    def _put_tokens_back(self) -> None:
        if self.tokens:
            with tenant_context(self.books.owner):
                self._row().update(**self.tokens)

    # ---------------------------------------------------------------- what happens

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.sell(count)

    @rule(count=st.integers(1, 3))
    def sell(self, count: int) -> None:
        numbers = list(itertools.islice(NUMBERS, count))
        self.sold |= {number: Decimal(6 * number) for number in numbers}
        self._read(numbers)

    def _read(self, numbers: list[int]) -> None:
        self.books.take(*(order(number, f"{self.sold[number]:.2f}") for number in numbers))

    @rule(fate=st.sampled_from(FATES), skipped=st.integers(0, 1))
    def write(self, fate: str, skipped: int) -> None:
        """One write of this slice meets its fate; with `skipped`, the second one."""
        self._trouble(fate, skipped)
        self._slice()

    @rule(fate=st.sampled_from(("well", "late", "killed after", "drop_before")))
    def sell_and_write(self, fate: str) -> None:
        self.sell(2)
        self.write(fate, 0)

    @rule(kind=st.sampled_from(("html", "503")))
    def write_while_nothing_can_be_looked_up(self, kind: str) -> None:
        self.simulated.faults.add(
            Fault(match="GET /", kind="html", times=20)
            if kind == "html"
            else Fault(match="GET /", kind="status", status=503, times=20)
        )
        self._slice()

    @rule(time=st.sampled_from(PAUSES))
    def wait(self, time: dt.timedelta) -> None:
        self._let_pass(time)

    @precondition(lambda self: self.wire.late)
    @rule()
    def arrive_late(self) -> None:
        self.wire.arrive()

    @rule(is_paused=st.booleans())
    def pause(self, is_paused: bool) -> None:
        with tenant_context(self.books.owner):
            type(self.books.flow).objects.filter(pk=self.books.flow.pk).update(is_paused=is_paused)

    @rule()
    def decide(self) -> None:
        """A person looks into the ledger, sees what is there by then, and says so."""
        if self.wire.late:
            return
        for outcome, numbers in self._held():
            is_there = all(self.standing(kind, number) for kind, number in numbers)
            TRIED["accepted" if is_there else "posted again"] += 1
            with tenant_context(self.books.owner):
                if is_there:
                    accept(outcome_ids=[outcome], reason="I saw it.", user=self.books.user)
                else:
                    post_again(outcome_ids=[outcome], user=self.books.user)
        self.books.plan()

    @rule(fate=st.sampled_from(("well", "well", "drop_after", "drop_before", "killed before", "killed after")))
    def take_back(self, fate: str) -> None:
        """The oldest order that stands in the ledger, whole."""
        with tenant_context(self.books.owner):
            posted = (
                RecordOutcome.objects.filter(state="posted")
                .order_by("record_id")
                .values_list("record__number", "record_id")
            )
            first = posted.first()
            pk = (
                first and Posting.objects.get(record_id=first[1], data_type="invoice", state="posted", reverses=None).pk
            )
        if first is None:
            return
        reversal = planned(self.books, {"posting": pk})
        if reversal.state != "planned":
            return
        confirm(self.books, reversal)
        self.gone.add(int(first[0].removeprefix("#")))
        self.taken_back += 1
        TRIED["taken back"] += 1
        self._trouble(fate, 0)
        self._slice()

    @precondition(lambda self: self.gone)
    @rule()
    def ask_again(self) -> None:
        """What was taken back is wanted after all."""
        number = min(self.gone)
        outcome = self.books.outcome(f"#{number}")
        if outcome.reason_code == "taken_back":
            with tenant_context(self.books.owner):
                post_again(outcome_ids=[outcome.pk], user=self.books.user)
            self.gone.discard(number)
            self.taken_back += 1  # a decision about it, which a restore would forget like the taking back itself
            self.books.plan()

    @rule()
    def back_up(self) -> None:
        self.backup, self.taken_back = transaction.savepoint(), 0

    @precondition(lambda self: self.backup is not None and not self.taken_back and not self.gone)
    @rule()
    def restore(self) -> None:
        """The ledger has moved on. What was sold since is read again. Nothing is still on its way after so long."""
        assert self.backup is not None
        self._let_pass(LATEST)
        self._keep_tokens()
        transaction.savepoint_rollback(self.backup)
        self.backup = None
        note_restoration()
        self._put_tokens_back()
        TRIED["restored"] += 1
        self._read(list(self.sold))

    # ---------------------------------------------------------------- how it happens

    def _trouble(self, fate: str, skipped: int) -> None:
        TRIED[fate] += 1
        if fate in ("drop_before", "drop_after", "half_body"):
            for method in ("PUT", "POST"):
                self.simulated.faults.add(Fault(match=f"{method} {self.wire.prefix}", kind=fate, after=skipped))  # type: ignore[arg-type]
        elif fate in ("429", "503"):
            for method in ("PUT", "POST"):
                self.simulated.faults.add(
                    Fault(match=f"{method} {self.wire.prefix}", kind="status", status=int(fate), seconds=400, times=4)
                )
        else:
            self.wire.fate = fate

    def _slice(self) -> None:
        self.problem = ""
        try:
            work(self.books)
        except (UnableToPost, Killed) as error:
            self.problem = repr(error)
        self.wire.fate = "well"
        self.simulated.faults.clear()

    def _let_pass(self, time: dt.timedelta) -> None:
        """What is still on its way arrives in that time, or never."""
        self.wire.late[:] = [(request, age + time) for request, age in self.wire.late]
        while self.wire.late and self.wire.late[0][1] >= LATEST:
            self.wire.arrive()
        self.books.let_time_pass(time)

    def _held(self) -> list[tuple[int, list[tuple[str, int]]]]:
        """Outcomes about which a person is asked, with the entries that were never confirmed."""
        with tenant_context(self.books.owner):
            found = RecordOutcome.objects.filter(reason_code="unconfirmed", state="held").select_related("record")
            return [
                (
                    outcome.pk,
                    [
                        (kind, int(outcome.record.number.removeprefix("#")))
                        for kind in Posting.objects.filter(
                            record=outcome.record, state="uncertain", reverses=None
                        ).values_list("data_type", flat=True)
                    ],
                )
                for outcome in found
            ]

    # ---------------------------------------------------------------- what must be true

    def lines(self) -> list[dict[str, Any]]:
        with self.simulated.lock:
            return [line for line in self.simulated.ledger.after(self.start) if line["by"] == "connector"]

    def standing(self, data_type: str, number: int) -> int:
        """How many entries of this order the ledger has."""
        amount, lines = self.sold[number], [line for line in self.lines() if line["data_type"] == data_type]
        gone = {line["id"] for line in lines if line["action"] in ("void", "delete")}
        return sum(
            line["action"] == "create" and line["id"] not in gone and Decimal(line["amount"]) == amount
            for line in lines
        )

    @invariant()
    def nothing_is_there_twice_and_nothing_is_claimed(self) -> None:
        for number in self.sold:
            for data_type in DOCUMENTS:
                assert self.standing(data_type, number) <= 1, f"{data_type} of {number} is there twice"
        for data_type, state, number in self._postings():
            if state == "posted" and number not in self.gone:
                assert self.standing(data_type, number) == 1, f"{data_type} of {number} is not there, and said to be"

    def _postings(self) -> list[tuple[str, str, int]]:
        with tenant_context(self.books.owner):
            rows = Posting.objects.filter(data_type__in=DOCUMENTS, reverses=None)
            return [
                (data_type, state, int(number.removeprefix("#")))
                for data_type, state, number in rows.values_list("data_type", "state", "record__number")
            ]

    def teardown(self) -> None:
        try:
            self._come_to_rest()
            for number in self.sold:
                wanted = 0 if number in self.gone else 1
                for data_type in DOCUMENTS:
                    assert self.standing(data_type, number) == wanted, f"{data_type} of {number}: {self.books.states()}"
            states = {f"#{number}": "held taken_back" if number in self.gone else "posted" for number in self.sold}
            assert self.books.states() == states
            TRIED["examples"] += 1
            TRIED["entries"] += len(self.lines())
        finally:
            self._keep_tokens()
            super().teardown()

    def _come_to_rest(self) -> None:
        """Whatever happened, time and a person's look bring everything to its end."""
        self.pause(is_paused=False)
        for _ in range(ROUNDS):
            self._let_pass(dt.timedelta(minutes=4))
            self.books.plan()
            self._slice()
            self.decide()
            if not self._held() and not any(state in ON_THE_WAY for _, state, _ in self._postings()):
                with tenant_context(self.books.owner):
                    if not RecordOutcome.objects.filter(reason_code="being_taken_back").exists():
                        return
        raise AssertionError(f"It does not come to rest, {self.problem}: {self._postings()}")


@contextmanager
def wire(prefix: str) -> Iterator[Wire]:
    made = Wire(httpx.Client.send, prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", lambda client, request, **kwargs: made.send(client, request, **kwargs))
        yield made


@pytest.mark.parametrize(
    ("ledger", "prefix"), [("books", "/api.xro/2.0/"), ("quickbooks", "/v3/company/")], ids=["xero", "quickbooks"]
)
def test_every_posting_comes_to_its_end_and_is_there_once(
    ledger: str, prefix: str, request: pytest.FixtureRequest, size: Size, seed: int, tell: Tell
) -> None:
    opened: Books = request.getfixturevalue(ledger)
    TRIED.clear()
    chosen = hypothesis.settings(
        max_examples=size.pick(25, 3000), stateful_step_count=size.pick(12, 25), deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with wire(prefix) as made:
        machine = type("Machine", (IntentMachine,), {"books": opened, "wire": made, "tokens": {}})
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=chosen)
    assert TRIED["examples"]
    tell(
        "C13",
        f"walks through postings, {opened.connection.connector}",
        tried=TRIED["examples"],
        events=TRIED["entries"],
    )
