"""How the sample ledger is called, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from connectors.sdk.client import Client, parse_json
from connectors.sdk.errors import ConnectorError
from connectors.sdk.oauth import OAuth, Organisation, TokenSet
from tests.connectors.sample.manifest import MANIFEST


class SampleClient(Client):
    manifest = MANIFEST

    def headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "Organisation": self.access.organisation_id}

    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        return None


class SampleOAuth(OAuth):
    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        response = self.http.get(self.url(("api", "/organisations")), headers=headers)
        found = parse_json(response.raise_for_status().content)["organisations"]
        return [Organisation(id=body["id"], name=body["name"]) for body in found]


CLIENT = SampleClient
OAUTH = SampleOAuth
