"""The toolkit's own promises: nothing is lost by a restart, limits are counted, deliveries are repeated and logged."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug import Request, Response
from werkzeug.serving import make_server

from connectors.sdk.manifest import Limit
from connectors.sdk.oauth import ConnectorKeys
from connectors.sdk.records import Customer
from connectors.testing import Delivery, OAuthRefusal, OAuthRules, Store
from connectors.testing.oauth_server import OAuthServer
from connectors.testing.throttle import Throttles
from tests.connectors.sample.simulator import SampleSimulator

KEYS = ConnectorKeys(client_id="id", client_secret="secret")
START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> dt.datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += dt.timedelta(seconds=seconds)


def caller(simulator: SampleSimulator) -> httpx.Client:
    return httpx.Client(transport=httpx.WSGITransport(simulator), base_url="http://simulator.test")


def seed(http: httpx.Client, *, emit: bool = False, name: str = "Alder & Finch Ltd") -> str:
    records = [{"data_type": "customer", "id": "", "name": name}]
    body = {"organisation": "kestrel", "by": "staff", "emit": emit, "records": records}
    answer = http.post("/_sim/seed", json=body)
    answer.raise_for_status()
    (id,) = answer.json()["ids"]
    return str(id)


# ---------------------------------------------------------------------- store


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


# ---------------------------------------------------------------------- tokens


def grant(rules: OAuthRules, clock: Clock) -> tuple[OAuthServer, dict[str, Any]]:
    counter = iter(range(1000))
    server = OAuthServer(rules, KEYS, Store(), clock, lambda kind, organisation: f"{kind}-{next(counter)}")
    _, answer = server.grant_for("kestrel", ("read",), "alice")
    return server, answer


def rules(**changes: Any) -> OAuthRules:
    return OAuthRules(authorize_path="/a", token_path="/t", **changes)


def refresh(server: OAuthServer, token: str) -> dict[str, Any]:
    return server.tokens({"grant_type": "refresh_token", "refresh_token": token})[1]


def test_strict_rotation_ends_the_family_on_reuse() -> None:
    server, first = grant(rules(rotation="strict"), Clock())
    second = refresh(server, first["refresh_token"])
    assert server.grant_of(second["access_token"]) is not None
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])
    assert server.grant_of(second["access_token"]) is None
    with pytest.raises(OAuthRefusal):
        refresh(server, second["refresh_token"])


def test_grace_rotation_accepts_the_old_value_for_a_while() -> None:
    clock = Clock()
    server, first = grant(rules(rotation="grace", rotation_seconds=1800), clock)
    second = refresh(server, first["refresh_token"])
    clock.advance(1799)
    refresh(server, first["refresh_token"])
    clock.advance(2)
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])
    refresh(server, second["refresh_token"])


def test_lazy_rotation_replaces_an_old_value_only() -> None:
    clock = Clock()
    server, first = grant(rules(rotation="lazy", rotation_seconds=86400), clock)
    assert refresh(server, first["refresh_token"])["refresh_token"] == first["refresh_token"]
    clock.advance(86401)
    replaced = refresh(server, first["refresh_token"])["refresh_token"]
    assert replaced != first["refresh_token"]
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


def test_first_use_rotation_keeps_the_old_value_until_the_new_one_works() -> None:
    server, first = grant(rules(rotation="first_use"), Clock())
    refresh(server, first["refresh_token"])
    second = refresh(server, first["refresh_token"])
    refresh(server, second["refresh_token"])
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


def test_access_and_refresh_tokens_expire() -> None:
    clock = Clock()
    server, first = grant(rules(access_seconds=60, refresh_seconds=600), clock)
    clock.advance(61)
    assert server.grant_of(first["access_token"]) is None
    clock.advance(600)
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


@pytest.mark.parametrize(
    ("way", "form", "basic"),
    [
        ("basic", {}, ("id", "secret")),
        ("body", {"client_id": "id", "client_secret": "secret"}, None),
        ("secret_as_user", {}, ("secret", "")),
    ],
)
def test_the_client_proves_itself_one_way_only(way: Any, form: dict[str, str], basic: Any) -> None:
    server, _ = grant(rules(client_auth=way), Clock())
    server.check_client(form, basic)
    with pytest.raises(OAuthRefusal):
        server.check_client({}, None)
    with pytest.raises(OAuthRefusal):
        server.check_client({"client_id": "id", "client_secret": "wrong"}, ("id", "wrong"))


def test_a_grant_knows_all_organisations_of_its_person() -> None:
    server, _ = grant(rules(), Clock())
    found, _ = server.grant_for("harbor", ("read",), "alice")
    assert found.organisations == ("kestrel", "harbor")
    stranger, _ = server.grant_for("harbor", ("read",), "charlie")
    assert stranger.organisations == ("harbor",)


def test_the_redirect_address_has_to_match() -> None:
    server, _ = grant(rules(), Clock())
    code = server.issue_code(organisation="kestrel", user="alice", scopes=(), redirect_uri="https://us/cb")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://them/cb"}
    with pytest.raises(OAuthRefusal):
        server.tokens(form)


# ---------------------------------------------------------------------- limits


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


# ---------------------------------------------------------------------- control


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


# ---------------------------------------------------------------------- over a real connection


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


# ---------------------------------------------------------------------- webhooks


class Listener:
    """Takes deliveries and answers what it was told to, 200 when nothing is left."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.arrived = threading.Semaphore(0)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        self.bodies.append(request.get_data())
        status = self.answers.pop(0) if self.answers else 200
        self.arrived.release()
        return Response("", status)(environ, start_response)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=10), "a delivery did not arrive"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener(500, 200)
    yield listener
    listener.close()


def log_of(simulator: SampleSimulator) -> list[dict[str, Any]]:
    simulator.outbox.close()
    return simulator.outbox.deliveries()


def test_a_refused_delivery_is_repeated_and_logged(listener: Listener) -> None:
    simulator = SampleSimulator(webhook_url=listener.url, speed=1_000_000)
    seed(caller(simulator), emit=True)
    listener.wait(2)
    (entry,) = log_of(simulator)
    assert entry["answers"] == [500, 200]
    assert (entry["status"], entry["attempts"]) == ("delivered", 2)
    assert listener.bodies[0] == listener.bodies[1]
    simulator.close()


def test_dropped_deliveries_are_logged_but_never_sent() -> None:
    simulator = SampleSimulator()
    http = caller(simulator)
    http.post("/_sim/webhooks", json={"drop_percent": 50, "seed": 7, "paused": True})
    for number in range(20):
        seed(http, emit=True, name=f"Customer {number}")
    statuses = [entry["status"] for entry in simulator.outbox.deliveries()]
    assert set(statuses) == {"dropped", "queued"}
    assert len(statuses) == 20
    simulator.close()


def test_duplicated_deliveries_arrive_twice() -> None:
    listener = Listener()
    simulator = SampleSimulator(webhook_url=listener.url)
    caller(simulator).post("/_sim/webhooks", json={"duplicate_percent": 100})
    seed(caller(simulator), emit=True)
    listener.wait(2)
    (entry,) = log_of(simulator)
    assert entry["answers"] == [200, 200]
    simulator.close()
    listener.close()


def test_deliveries_arrive_in_order_unless_shuffled() -> None:
    listener = Listener()
    simulator = SampleSimulator(webhook_url=listener.url, speed=1000)
    http = caller(simulator)
    for number in range(8):
        seed(http, emit=True, name=f"Customer {number}")
    listener.wait(8)
    in_order = [*listener.bodies]
    assert in_order == sorted(in_order, key=lambda body: int(body.split(b'"event":"')[1].split(b'"')[0]))
    http.post("/_sim/webhooks", json={"shuffle": True, "seed": 3, "paused": True})
    for number in range(8):
        seed(http, emit=True, name=f"Shuffled {number}")
    http.post("/_sim/webhooks", json={"paused": False})
    listener.wait(8)
    shuffled = listener.bodies[8:]
    assert shuffled != sorted(shuffled, key=lambda body: int(body.split(b'"event":"')[1].split(b'"')[0]))
    simulator.close()
    listener.close()


def test_deliveries_queued_before_a_restart_are_sent_after_it(tmp_path: Path) -> None:
    first = SampleSimulator(state=tmp_path)
    caller(first).post("/_sim/webhooks", json={"paused": True})
    seed(caller(first), emit=True)
    first.close()
    listener = Listener()
    second = SampleSimulator(state=tmp_path, webhook_url=listener.url)
    listener.wait(1)
    assert [entry["status"] for entry in log_of(second)] == ["delivered"]
    second.close()
    listener.close()


def test_a_delivery_may_have_its_own_address_and_headers() -> None:
    listener = Listener()
    simulator = SampleSimulator()
    delivery = Delivery(event_id="e", body=b"{}", headers={"X-Topic": "t"}, url=listener.url)
    assert simulator.webhook_headers(delivery)["X-Topic"] == "t"
    with simulator.lock:
        simulator.emit("kestrel", delivery)
        simulator.commit()
    listener.wait(1)
    assert listener.bodies == [b"{}"]
    simulator.close()
    listener.close()


def test_seeding_a_known_id_changes_it() -> None:
    simulator = SampleSimulator()
    (id,) = simulator.plant("kestrel", [Customer(id="", name="Old")])
    simulator.plant("kestrel", [Customer(id=id, name="New")])
    assert [row["record"]["name"] for row in simulator.store["customer"].values()] == ["New"]
    actions = [line["action"] for line in simulator.ledger.after(1)]
    assert actions == ["create", "update"]
    simulator.close()
