"""Only the provider's own deliveries are believed, and they say whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.sdk.webhooks import WebhookEvent, Webhooks
from connectors.testing.contract.bench import Bench
from connectors.testing.contract.setup import Setup
from connectors.testing.outbox import Delivery, as_delivery

ADDRESS = "https://tieout.example/webhooks"


class WebhookRules(Setup):
    def webhook_types(self, bench: Bench) -> list[str]:
        """Data types whose changes are told by webhook; override where not the first two that are seeded."""
        types = [stream.data_type for stream in bench.parts.streams if stream.data_type not in self.not_seeded]
        return [found for found in types if found in ("order", "customer", "invoice")][:2]

    def scheme(self) -> Webhooks:
        webhooks = self.parts().webhooks
        if webhooks is None:
            pytest.skip("this provider has no webhooks")
        return webhooks

    def deliveries(self, bench: Bench) -> list[Delivery]:
        """What the simulator sends after something changed; nothing leaves this process."""
        self.scheme().subscribe(bench.client, ADDRESS)
        bench.simulator.outbox.clear()
        for data_type in self.webhook_types(bench):
            records = self.samples(bench, data_type, 2)
            bench.simulator.plant(bench.organisation, records, by="staff", emit=True)
        deliveries = [as_delivery(entry) for entry in bench.simulator.outbox.deliveries()]
        assert deliveries, "seeding with emit=True sends webhooks"
        return deliveries

    def test_the_manifest_says_whether_there_are_webhooks(self) -> None:
        parts = self.parts()
        assert (parts.manifest.webhooks is None) == (parts.webhooks is None)

    def test_genuine_deliveries_are_accepted(self, bench: Bench) -> None:
        scheme = self.scheme()
        for delivery in self.deliveries(bench):
            headers = self.webhook_headers(bench, delivery)
            secrets = [*self.webhook_secrets(bench)]
            assert scheme.is_genuine(headers, delivery.body, secrets)
            assert scheme.is_genuine(headers, delivery.body, ["the-next-secret", *secrets]), "while rotating"

    def test_forged_deliveries_are_refused(self, bench: Bench) -> None:
        scheme = self.scheme()
        delivery = self.deliveries(bench)[0]
        headers, secrets = self.webhook_headers(bench, delivery), self.webhook_secrets(bench)
        flipped = bytes([delivery.body[0] ^ 1]) + delivery.body[1:]
        assert not scheme.is_genuine(headers, flipped, secrets)
        assert not scheme.is_genuine(headers, delivery.body, [])
        assert not scheme.is_genuine(headers, delivery.body, [""])
        assert not scheme.is_genuine(headers, delivery.body, ["another-secret"])
        assert not scheme.is_genuine({}, delivery.body, secrets)
        name = scheme_header(self.parts().manifest)
        assert not scheme.is_genuine({**headers, name: ""}, delivery.body, secrets)
        assert not scheme.is_genuine({**headers, name: "bm9uc2Vuc2U="}, delivery.body, secrets)

    def test_events_say_whose_and_what(self, bench: Bench) -> None:
        events = self.events(bench)
        assert {event.organisation_id for event in events} == {bench.organisation}
        assert self.scheme().data_types >= {event.data_type for event in events} >= set(self.webhook_types(bench))
        for data_type in self.webhook_types(bench):
            ids = [event.external_id for event in events if event.data_type == data_type]
            held = bench.stream(data_type).fetch(bench.client, list(dict.fromkeys(ids)))
            assert {found.external_id for found in held.records} >= set(ids)

    def test_a_body_that_is_not_theirs_is_refused(self) -> None:
        with pytest.raises(ValueError):
            self.scheme().events({}, b"<html>not a webhook</html>")

    def events(self, bench: Bench) -> list[WebhookEvent]:
        scheme = self.scheme()
        return [
            event
            for delivery in self.deliveries(bench)
            for event in scheme.events(self.webhook_headers(bench, delivery), delivery.body)
        ]


def scheme_header(manifest: Any) -> str:
    return str(manifest.webhooks.signature_header).lower()
