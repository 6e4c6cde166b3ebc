"""C16: deliveries at a steady rate for minutes, with workers at it; the judge is the sender's log of every 2xx."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings

from marketplace.core.models import EventCopy, WebhookDelivery
from marketplace.installations.registrations import webhook_secrets
from tests.benchmarks.driving import Business, provider
from tests.benchmarks.test_webhooks import web
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.processes import wait_until, workers
from tests.faults.test_webhooks import one_event_each
from tests.faults.world import SHOP, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack, pytest.mark.alone]

RATE = 160  # in a second; 150 is what has to be borne
SENDERS = 16
ORDERS = 50
#: The strictest sender gives up after three seconds; on a machine that does nothing else the aim is one.
SLOWEST, AIM = 3.0, 1.0
DRAINED_WITHIN = 60.0


@dataclass
class Sender:
    """Sends at its own pace, whether or not it was answered in time; keeps the digest of everything that was acknowledged."""

    address: str
    ids: list[str]
    secret: str
    count: int
    acknowledged: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def send_all(self) -> None:
        began = time.monotonic() + 0.2
        threads = [threading.Thread(target=self._send, args=(place, began)) for place in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, place: int, began: float) -> None:
        wire = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        for number in range(place, self.count, SENDERS):
            due = began + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            body = self._body(number)
            try:
                wire.request("POST", "/webhooks/shopify/simulator/", body, self._headers(number, body))
                answer = wire.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.others[type(error).__name__] += 1
                wire.close()
                continue
            # From when it should have left: a server that is behind keeps nobody from being counted as late.
            self.seconds.append(time.monotonic() - due)
            if answer.status == 200:
                self.acknowledged.append(hashlib.sha256(body).hexdigest())
            else:
                self.others[str(answer.status)] += 1
        wire.close()

    def _body(self, number: int) -> bytes:
        id = self.ids[number % len(self.ids)]
        return json.dumps({"id": id, "admin_graphql_api_id": f"gid://shopify/Order/{id}", "number": number}).encode()

    def _headers(self, number: int, body: bytes) -> dict[str, str]:
        signature = hmac.digest(self.secret.encode(), body, hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "X-Shopify-Hmac-Sha256": base64.b64encode(signature).decode(),
            "X-Shopify-Topic": "orders/updated",
            "X-Shopify-Shop-Domain": SHOP,
            "X-Shopify-Webhook-Id": f"load-{number}",
        }

    def at(self, share: float) -> float:
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]


def test_every_delivery_of_a_long_rush_is_acknowledged_kept_and_followed(
    business: Business, simulators: dict[str, str], settings: Settings, tmp_path: Path, size: Size, tell: Tell
) -> None:
    seconds = size.pick(30, 600)
    orders = one_event_each(ORDERS)
    business.connect("shopify", SHOP, {"shop": SHOP})
    with provider("shopify") as simulated:
        simulated.enter(SHOP, orders, by="provider")
    work_quietly()
    secret = webhook_secrets("shopify", "simulator")[0]
    with (
        web(settings, "tests.benchmarks.web_settings", tmp_path / "web.log") as (address, _),
        workers(2, tmp_path),
    ):
        sender = Sender(address, [order.id for order in orders], secret, RATE * seconds)
        sender.send_all()
        wait_until(lambda: not EventCopy.objects.filter(done_at=None).exists(), "the backlog drained", DRAINED_WITHIN)
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert not sender.others
    assert Counter(sender.acknowledged) == rows and len(rows) == RATE * seconds
    assert EventCopy.objects.count() == len(rows)
    assert sender.at(0.99) < size.pick(int(SLOWEST), int(AIM))
    fault = f"{RATE} deliveries a second for {seconds} s: median {sender.at(0.5):.3f} s, p99 {sender.at(0.99):.3f} s"
    tell("C16", fault, tried=1, events=len(rows))
