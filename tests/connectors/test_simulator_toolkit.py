"""The toolkit's own promises: nothing is lost by a restart, limits are counted, control does as told."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from connectors.sdk.manifest import Limit
from connectors.testing import Store
from connectors.testing.throttle import Throttles
from tests.connectors.calling import caller, seed
from tests.connectors.sample.simulator import SampleSimulator

START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def test_the_store_keeps_exact_values_over_a_restart(tmp_path: Path) -> None:
    body = {"amount": Decimal("10.00"), "whole": Decimal(5), "at": START, "day": START.date(), "n": 1, "x": None}
    store = Store(tmp_path / "books.sqlite3")
    store["invoices"].put("b", body)
    store["invoices"].put("a", {"n": 2})
    assert (store.next_id("invoice"), store.next_id("invoice"), store.next_id("payment")) == (1, 2, 1)
    store.close()
    again = Store(tmp_path / "books.sqlite3")
    assert again["invoices"].get("b") == body
    assert isinstance(again["invoices"].values()[0]["whole"], Decimal)
    assert list(again["invoices"]) == ["b", "a"]
    assert again.next_id("invoice") == 3
    again.close()


def test_what_was_deleted_stays_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "books.sqlite3")
    store["x"].put("1", {})
    store["x"].put("2", {})
    store.commit()
    store["x"].delete("1")
    store["x"].delete("1")
    store.close()
    again = Store(tmp_path / "books.sqlite3")
    assert list(again["x"]) == ["2"]
    assert len(again["x"]) == 1
    again.close()


def test_uncommitted_work_is_not_on_disk(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a.sqlite3"), None
    store["x"].put("1", {})
    other = Store(tmp_path / "a.sqlite3")
    assert len(other["x"]) == 0
    store.close()
    other.close()


def test_a_window_tells_when_it_opens_again() -> None:
    throttles, limit = Throttles(1.0), Limit(amount=3, seconds=60)
    for second in (0, 10, 20):
        assert spend(throttles, limit, second) is None
    assert spend(throttles, limit, 30) == 30
    assert spend(throttles, limit, 60) is None
    assert spend(throttles, limit, 61) == 9


def test_windows_belong_to_one_connection_unless_shared() -> None:
    throttles = Throttles(1.0)
    alone, shared = Limit(amount=1, seconds=60), Limit(amount=2, seconds=60, per="connector")
    assert spend(throttles, alone, 0, shared, key="a") is None
    assert spend(throttles, alone, 0, shared, key="b") is None
    assert spend(throttles, alone, 0, key="a") == 60
    assert spend(throttles, shared, 0, key="c") == 60


def test_a_refused_call_spends_nothing() -> None:
    throttles = Throttles(1.0)
    narrow, wide = Limit(amount=1, seconds=1), Limit(amount=2, seconds=60)
    assert spend(throttles, narrow, 0, wide) is None
    assert spend(throttles, narrow, 0, wide) == 1
    assert throttles.remaining("a", wide, now=START) == 1


def test_speed_shortens_windows() -> None:
    throttles, limit = Throttles(60.0), Limit(amount=1, seconds=60)
    assert spend(throttles, limit, 0) is None
    assert spend(throttles, limit, 0) == 1


def test_too_many_calls_at_the_same_time_wait() -> None:
    throttles, limit = Throttles(1.0), Limit(amount=5, seconds=0)
    arguments: dict[str, Any] = {"counts": {"call": 1}, "limits": [limit], "now": START}
    assert throttles.spend("a", at_the_same_time=5, **arguments) is None
    assert throttles.spend("a", at_the_same_time=6, **arguments) == 1


def test_a_bucket_leaks_steadily() -> None:
    throttles = Throttles(1.0)
    bucket = throttles.bucket("a", capacity=1000, restore_per_second=100, now=START)
    assert bucket.take(900) is None
    assert bucket.take(300) == 2
    bucket.give_back(50)
    later = throttles.bucket("a", capacity=1000, restore_per_second=100, now=START + dt.timedelta(seconds=2))
    assert later.available == 350
    assert later.take(350) is None


def spend(throttles: Throttles, *parts: Any, key: str = "a") -> float | None:
    limits = [part for part in parts if isinstance(part, Limit)]
    second = next(part for part in parts if isinstance(part, int))
    now = START + dt.timedelta(seconds=second)
    return throttles.spend(key, {"call": 1}, limits, now=now, at_the_same_time=1)


def test_a_restart_keeps_the_books_and_the_connection(tmp_path: Path) -> None:
    simulator = SampleSimulator(state=tmp_path)
    http = caller(simulator)
    id = seed(http)
    _, answer = simulator.oauth.grant_for("kestrel", ("read",), "alice")
    http.post("/_sim/clock", json={"advance_seconds": 100})
    simulator.close()
    again = SampleSimulator(state=tmp_path)
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    rows = caller(again).get(f"/records/customer?ids={id}", headers=headers).json()["rows"]
    assert [row["record"]["name"] for row in rows] == ["Alder & Finch Ltd"]
    assert again.now() - dt.datetime.now(dt.UTC) > dt.timedelta(seconds=99)
    again.close()


def test_the_ledger_tells_who_did_what() -> None:
    simulator = SampleSimulator()
    http = caller(simulator)
    id = seed(http)
    lines = http.get("/_sim/ledger").json()["lines"]
    assert [(line["by"], line["action"], line["data_type"]) for line in lines] == [
        ("provider", "create", "ledger_account"),
        ("staff", "create", "customer"),
    ]
    assert (lines[1]["id"], lines[1]["party"]) == (id, "Alder & Finch Ltd")
    assert http.get("/_sim/ledger?after=1").json()["lines"] == lines[1:]
    simulator.close()


def test_control_is_for_this_machine_only() -> None:
    simulator = SampleSimulator()
    transport = httpx.WSGITransport(simulator, remote_addr="203.0.113.7")
    http = httpx.Client(transport=transport, base_url="http://simulator.test")
    assert http.post("/_sim/reset").status_code == 403
    simulator.close()


def test_a_trickle_that_was_asked_for_arrives_whole_and_late() -> None:
    simulator = SampleSimulator()
    http = caller(simulator)
    right = http.get("/records/customer")
    fault = {"match": "GET /records", "kind": "trickle", "seconds": 0.002}
    http.post("/_sim/faults", json=fault).raise_for_status()
    before = time.monotonic()
    assert http.get("/records/customer").content == right.content
    assert time.monotonic() - before > 0.002 * len(right.content)
    simulator.close()


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("faults", {"match": "GET /", "kind": "earthquake"}),
        ("faults", {"kind": "html"}),
        ("seed", {"organisation": "kestrel", "records": [{"data_type": "rocket"}]}),
        ("seed", {"organisation": "kestrel", "records": [{"data_type": "customer"}]}),
        ("seed", {"organisation": "kestrel", "by": "nobody", "records": []}),
        ("webhooks", {"mood": "bad"}),
        ("organisations", {"name": "No id"}),
    ],
)
def test_a_wrong_command_is_refused(command: str, body: dict[str, Any]) -> None:
    simulator = SampleSimulator()
    answer = caller(simulator).post(f"/_sim/{command}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    simulator.close()


def test_calls_are_counted_by_route_and_resets_forget() -> None:
    simulator = SampleSimulator()
    http = caller(simulator)
    http.get("/records/customer")
    http.get("/records/invoice")
    assert http.get("/_sim/counts").json()["calls"] == {"GET /records/<data_type>": 2}
    seed(http)
    http.post("/_sim/reset")
    assert http.get("/_sim/counts").json()["total"] == 0
    assert len(simulator.store["customer"]) == 0
    assert [found["id"] for found in simulator.organisations()] == ["kestrel"]
    simulator.close()


def test_faults_wait_for_their_turn_and_go_away() -> None:
    simulator = SampleSimulator()
    http = caller(simulator)
    fault = {"match": "GET /records", "kind": "status", "status": 503, "after": 1, "times": 1}
    http.post("/_sim/faults", json=fault)
    statuses = [http.get("/records/customer").status_code for _ in range(3)]
    assert statuses == [401, 503, 401]
    http.post("/_sim/faults", json=fault | {"after": 0, "times": 9})
    assert http.post("/records/customer/batch", json={}).status_code == 401
    http.delete("/_sim/faults")
    assert http.get("/records/customer").status_code == 401
    simulator.close()


@pytest.fixture
def served() -> Iterator[tuple[SampleSimulator, str]]:
    simulator = SampleSimulator(speed=10_000)
    server = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield simulator, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
    simulator.close()


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "half_body"])
def test_broken_connections_break_for_real_callers(served: tuple[SampleSimulator, str], kind: str) -> None:
    simulator, address = served
    with httpx.Client(base_url=address) as http:
        http.post("/_sim/faults", json={"match": "GET /records", "kind": kind})
        with pytest.raises(httpx.TransportError):
            http.get("/records/customer")
        assert http.get("/records/customer").status_code == 401
    assert simulator.counts["GET /records/<data_type>"] == (1 if kind == "drop_before" else 2)
