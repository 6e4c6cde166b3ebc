"""What a connector declares about itself: pure data, read by the catalogue, consent page, forms, limiter and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One right we ask for. `why` completes the sentence "We ask for this to ..."; `words` says what it lets us do."""

    name: str
    words: str
    why: str
    writes: bool = False


@dataclass(frozen=True, kw_only=True)
class OAuth2:
    """Authorization-code grant at the provider. URLs are paths on the hosts named in `Manifest.hosts`.

    `organisation_from`: where the chosen organisation becomes known: a `callback` parameter, a `list` call, or the
    `token` answer. `grace_seconds`: how long a replaced refresh token still works.
    """

    authorize: tuple[str, str]  # (host key, path)
    token: tuple[str, str]
    revoke: tuple[str, str] | None
    scopes: tuple[Scope, ...]
    scope_separator: str = " "
    uses_pkce: bool = False
    client_auth: Literal["basic", "body"] = "basic"
    organisation_from: Literal["callback", "list", "token"] = "list"
    access_seconds: int = 3600
    refresh_days: int | None = None
    grace_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value the tenant types before the consent, such as a shop's address. `pattern` is a full-match regular expression."""

    name: str
    label: str
    hint: str = ""
    pattern: str = ""
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """At most `amount` units in any `seconds` (0: at the same time), counted per `connection` or per `connector`.

    A unit is a `call`, a `batch` call or a calculated `cost` point.
    """

    amount: int
    seconds: int
    counts: Literal["call", "batch", "cost"] = "call"
    per: Literal["connection", "connector"] = "connection"


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """How the provider recognises a repeated write. `key_in` is None where it cannot; then only the search helps."""

    key_in: Literal["header", "query", None]
    name: str = ""
    max_length: int = 0
    window_seconds: int = 0
    search_field: str = ""


@dataclass(frozen=True, kw_only=True)
class WebhookScheme:
    """`registered`: subscribed `per_connection` through the API, or set once for the whole connector (`per_connector`).
    `signed_with`: a secret of the webhooks' own, or the registration's client secret."""

    signature_header: str
    registered: Literal["per_connection", "per_connector"]
    carries_payload: bool
    answer_seconds: int
    signed_with: Literal["own_secret", "client_secret"] = "own_secret"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Identity and behaviour of one connector. The folder name is the slug and never changes.

    `hosts` maps a host key to its base URL per environment; `{organisation}` is replaced by the organisation's id.
    `also_calls` are further origins that calls may go to: those that `{organisation}` may stand for, and those of files the provider
    refers to. `https://*.example.com` is every name one level below. No call goes anywhere else.
    """

    slug: str
    name: str
    summary: str
    category: Literal["shop", "payments", "ledger", "crm"]
    api_version: str
    hosts: dict[str, dict[str, str]]
    auth: OAuth2
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    limits: tuple[Limit, ...] = ()
    idempotency: Idempotency | None = None
    webhooks: WebhookScheme | None = None
    has_drafts: bool = False
    limitations: tuple[str, ...] = ()
    removal: tuple[str, ...] = ()
    docs_url: str = ""
    owner: str = "Tieout"
    brand_colour: str = "#5b6470"
    also_calls: tuple[str, ...] = ()
    exemptions: dict[str, str] = field(default_factory=dict)
    version: str = "1.0.0"

    def base_url(self, host: str, environment: str, *, organisation: str = "", simulator: str = "") -> str:
        """The root of `host`; a `simulator` base URL stands in for every host of the provider."""
        template = simulator or self.hosts[host][environment]
        return template.replace("{organisation}", organisation).rstrip("/")

    def origins(self) -> tuple[str, ...]:
        """Where calls may go to. A host whose name depends on the organisation counts only through `also_calls`."""
        declared = {url for urls in self.hosts.values() for url in urls.values()}
        return (*sorted(url for url in declared if "{" not in url.split("/")[2]), *self.also_calls)
