"""Pages travel compressed where the browser takes it."""

from __future__ import annotations

import gzip

from django.test import Client

from tenants.models import Tenant


def test_page_is_a_fraction_of_itself_on_the_wire(tenant: Tenant, alice_client: Client) -> None:
    plain = alice_client.get("/o/kestrel/catalogue/")
    packed = alice_client.get("/o/kestrel/catalogue/", headers={"accept-encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert b"Shopify" in gzip.decompress(packed.content)
    assert len(packed.content) * 3 < len(plain.content)
