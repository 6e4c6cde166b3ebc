"""Shopify's consent: per shop, a signed callback, JSON token bodies, offline tokens that expire and rotate."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from connectors.providers.shopify.manifest import API_VERSION, SHOP_PATTERN
from connectors.sdk.client import parse_json
from connectors.sdk.errors import ConfigurationError, TransientError, UnexpectedResponse
from connectors.sdk.oauth import OAuth, Organisation, TokenSet

CALLBACK_SECONDS = 300

_SHOP = "{ shop { name currencyCode shopAddress { countryCodeV2 } } }"
_UNINSTALL = "mutation { appUninstall { userErrors { message } } }"


class ShopifyOAuth(OAuth):
    """Callbacks are accepted for five minutes: Shopify signs them with its own clock."""

    def organisation_in_url(self) -> str:
        shop = self.settings.get("shop", "")
        if not re.fullmatch(SHOP_PATTERN, shop):
            raise ConfigurationError("A shop address looks like your-shop.myshopify.com.")
        return shop.lower()

    def url(self, endpoint: tuple[str, str]) -> str:
        if not self.simulator:
            return super().url(endpoint)
        return f"{self.simulator.rstrip('/')}/shops/{self.organisation_in_url()}{endpoint[1]}"

    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        auth = self.manifest.auth
        query = {
            "client_id": self.keys.client_id,
            "scope": auth.scope_separator.join(scope.name for scope in auth.scopes),
            "redirect_uri": redirect_uri,
            "state": state,
        }
        return f"{self.url(auth.authorize)}?{urlencode(query)}"

    def check_callback(self, params: Mapping[str, str]) -> None:
        expected = callback_signature(params, self.keys.client_secret)
        if not hmac.compare_digest(expected.encode(), params.get("hmac", "").encode()):
            raise ConfigurationError("This answer does not carry Shopify's signature. Start connecting again.")
        if params.get("shop", "").lower() != self.organisation_in_url():
            raise ConfigurationError(
                "Shopify answered for another shop than the one you typed. Start connecting again."
            )
        stamp = params.get("timestamp", "")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > CALLBACK_SECONDS:
            raise ConfigurationError("Shopify's answer is too old. Start connecting again.")

    def exchange(self, params: Mapping[str, str], *, redirect_uri: str, verifier: str) -> TokenSet:
        return self._token({"code": params["code"], "expiring": "1"})

    def token_set(self, answer: Mapping[str, Any]) -> TokenSet:
        tokens = super().token_set(answer)
        lifetime = answer.get("refresh_token_expires_in")
        return TokenSet(
            access_token=tokens.access_token,
            expires_in=tokens.expires_in,
            refresh_token=tokens.refresh_token,
            refresh_expires_in=int(lifetime) if lifetime else None,
            scopes=tokens.scopes,
            answer=answer,
        )

    def revoke(self, tokens: TokenSet) -> None:
        """Uninstalls us from the shop; a shop that refuses our token has done so already."""
        response = self._graphql(tokens, _UNINSTALL)
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError("Shopify could not end the connection yet.", detail=str(response.status_code))

    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        domain = self.organisation_in_url()
        response = self._graphql(tokens, _SHOP)
        if response.status_code >= 400:
            raise TransientError("Shopify did not tell us about the shop yet.", detail=str(response.status_code))
        try:
            shop = parse_json(response.content)["data"]["shop"]
            country = (shop["shopAddress"] or {}).get("countryCodeV2") or ""
            found = Organisation(id=domain, name=shop["name"], base_currency=shop["currencyCode"], country=country)
        except (ValueError, KeyError, TypeError) as error:
            raise UnexpectedResponse("Shopify did not describe the shop.", detail=response.text[:200]) from error
        return [found]

    def _post(self, endpoint: tuple[str, str], form: Mapping[str, str]) -> httpx.Response:
        keys = {"client_id": self.keys.client_id, "client_secret": self.keys.client_secret}
        return self._send(endpoint, {**keys, **form}, {})

    def _graphql(self, tokens: TokenSet, query: str) -> httpx.Response:
        endpoint = ("admin", f"/admin/api/{API_VERSION}/graphql.json")
        return self._send(endpoint, {"query": query}, {"X-Shopify-Access-Token": tokens.access_token})

    def _send(self, endpoint: tuple[str, str], body: Mapping[str, str], headers: dict[str, str]) -> httpx.Response:
        return self.ask("POST", self.url(endpoint), json=dict(body), headers={"Accept": "application/json", **headers})


def callback_signature(params: Mapping[str, str], secret: str) -> str:
    """Hexadecimal HMAC-SHA256 of the callback's parameters, sorted, without the signature itself."""
    signed = sorted(params.items() - {("hmac", params.get("hmac", "")), ("signature", params.get("signature", ""))})
    message = "&".join(f"{_escaped(key).replace('=', '%3D')}={_escaped(value)}" for key, value in signed)
    return hmac.digest(secret.encode(), message.encode(), hashlib.sha256).hex()


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("&", "%26")
