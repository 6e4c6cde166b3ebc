"""The providers' simulators, each served on a port of its own by a thread of the test process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from werkzeug.serving import WSGIRequestHandler, make_server

from connectors.registry import connectors, simulator
from connectors.testing import Simulator
from marketplace.installations.registrations import connector_keys
from tenants.models import Tenant
from tests.installations.walking import Walk


class QuietHandler(WSGIRequestHandler):
    """Simulators count their calls themselves."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: a log of every call would bury what a failing test prints."""


@pytest.fixture(scope="session")
def served() -> Iterator[dict[str, tuple[Simulator, str]]]:
    """Every simulator and where it listens."""
    running = {}
    for slug in connectors():
        one = simulator(slug)(keys=connector_keys(slug), speed=1000)
        server = make_server("127.0.0.1", 0, one, threaded=True, request_handler=QuietHandler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running[slug] = (one, server, thread)
    yield {slug: (one, f"http://127.0.0.1:{server.server_port}") for slug, (one, server, _) in running.items()}
    for one, server, thread in running.values():
        server.shutdown()
        thread.join()
        server.server_close()
        one.close()


@pytest.fixture
def simulators(served: dict[str, tuple[Simulator, str]], settings: pytest.FixtureRequest) -> dict[str, Simulator]:
    """All simulators on their first day."""
    settings.SIMULATORS = {slug: url for slug, (_, url) in served.items()}  # type: ignore[attr-defined]
    for one, _ in served.values():
        with one.lock:
            one.reset()
        one.outbox.behave({"paused": True})
    return {slug: one for slug, (one, _) in served.items()}


@pytest.fixture
def walk(tenant: Tenant, alice_client: Client, simulators: dict[str, Simulator]) -> Callable[..., Walk]:
    """Alice at one connector, or somebody else."""

    def start(slug: str = "xero", client: Client = alice_client, owner: Tenant = tenant) -> Walk:
        return Walk(client, simulators[slug], slug, owner)

    return start
