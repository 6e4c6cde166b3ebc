"""Deliveries are sent in order, repeated, dropped and doubled as told, and logged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Request, Response
from werkzeug.serving import make_server

from connectors.sdk.records import Customer
from connectors.testing import Delivery
from tests.connectors.calling import caller, seed
from tests.connectors.sample.simulator import SampleSimulator


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
