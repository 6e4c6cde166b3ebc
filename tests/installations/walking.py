"""Walking through a consent as a person does: our page, the provider's page, the way back."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from django.conf import settings
from django.test import Client

from connectors.testing import Simulator
from marketplace.installations.models import Connection
from tenants.context import tenant as tenant_context
from tenants.models import Tenant


def text_of(response: Any) -> str:
    return html.unescape(str(response.content, "utf-8"))


@dataclass
class Walk:
    """One person's way through the pages of one connector whose simulator is running."""

    client: Client
    simulator: Simulator
    slug: str
    tenant: Tenant

    @property
    def typed(self) -> dict[str, str]:
        shop = {"shop": self.first_organisation} if self.slug == "shopify" else {}
        return {"environment": "simulator", **shop}

    @property
    def first_organisation(self) -> str:
        return str(self.simulator.organisations()[0]["id"])

    def agree(self, path: str = "") -> str:
        """Agree on our page; answers the link to the provider."""
        path = path or f"/o/{self.tenant.slug}/catalogue/{self.slug}/install/"
        page = text_of(self.client.post(path, self.typed))
        link = re.search(r'<a class="button primary" href="([^"]*)" rel="noreferrer"', page)
        assert link is not None, page
        return link[1]

    def decide(self, authorize_url: str, organisation: str = "", decision: str = "allow") -> dict[str, str]:
        """Press a button on the provider's page; answers what it sends to our callback."""
        page = httpx.get(authorize_url, trust_env=False)
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
        form = {html.unescape(name): html.unescape(value) for name, value in hidden}
        form |= {"decision": decision, "organisation": organisation or self.first_organisation}
        answer = httpx.post(authorize_url, data=form, trust_env=False)
        location = urlsplit(answer.headers["location"])
        assert answer.headers["location"].startswith(f"{settings.PUBLIC_URL}/connect/{self.slug}/callback?")
        return dict(parse_qsl(location.query))

    def come_back(self, params: dict[str, str], client: Client | None = None, slug: str = "") -> Any:
        return (client or self.client).get(f"/connect/{slug or self.slug}/callback?{urlencode(params)}")

    def connect(self, organisation: str = "") -> Connection:
        """The whole way; answers the new connection."""
        response = self.come_back(self.decide(self.agree(), organisation))
        if "/connections/choose/" in response["Location"]:
            chosen = {"organisation": organisation or self.first_organisation}
            response = self.client.post(response["Location"], chosen)
        return self.connection_at(response["Location"])

    def to_the_choice(self) -> str:
        """The page that asks which organisation: a Xero person who gave access to two gets it."""
        path = ""
        for organisation in self.simulator.organisations()[:2]:
            path = self.come_back(self.decide(self.agree(), str(organisation["id"])))["Location"]
        assert "/connections/choose/" in path
        return path

    def connection_at(self, path: str) -> Connection:
        with tenant_context(self.tenant):
            return Connection.objects.select_related("installation").get(pk=path.split("/")[4])

    def again(self, connection: Connection) -> Connection:
        with tenant_context(self.tenant):
            return Connection.objects.select_related("installation").get(pk=connection.pk)
