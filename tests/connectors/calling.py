"""Calling the sample simulator in process."""

from __future__ import annotations

import httpx

from tests.connectors.sample.simulator import SampleSimulator


def caller(simulator: SampleSimulator) -> httpx.Client:
    return httpx.Client(transport=httpx.WSGITransport(simulator), base_url="http://simulator.test")


def seed(http: httpx.Client, *, emit: bool = False, name: str = "Alder & Finch Ltd") -> str:
    records = [{"data_type": "customer", "id": "", "name": name}]
    body = {"organisation": "kestrel", "by": "staff", "emit": emit, "records": records}
    answer = http.post("/_sim/seed", json=body)
    answer.raise_for_status()
    (id,) = answer.json()["ids"]
    return str(id)
