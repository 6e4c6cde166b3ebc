"""Our registration at each provider: keys, webhook secrets, where consent can be given, and through which connections it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from connectors.registry import connector
from connectors.sdk.egress import Egress
from connectors.sdk.errors import TransientError
from connectors.sdk.exchange import http_client
from connectors.sdk.oauth import TOKEN_TIMEOUT_SECONDS, ConnectorKeys, OAuth
from marketplace.installations.models import Connection

_ENVIRONMENTS = frozenset(Connection.Environment.values)


def connector_keys(slug: str) -> ConnectorKeys:
    """Our registration at a provider, from the settings."""
    found = settings.CONNECTOR_CREDENTIALS[slug]
    return ConnectorKeys(
        client_id=found["client_id"],
        client_secret=found["client_secret"],
        webhook_secrets=webhook_secrets(slug, Connection.Environment.PRODUCTION),
    )


def webhook_secrets(slug: str, environment: str) -> tuple[str, ...]:
    """The secrets a delivery may be signed with now; none means nothing is accepted. There are several while one is replaced, and
    where each of our addresses at the provider has its own. Only simulators that are configured may deliver as simulators."""
    if environment not in _ENVIRONMENTS:
        return ()
    if environment == Connection.Environment.SIMULATOR and slug not in settings.SIMULATORS:
        return ()
    if environment == Connection.Environment.SANDBOX and settings.SANDBOX_WEBHOOK_SECRETS[slug]:
        return settings.SANDBOX_WEBHOOK_SECRETS[slug]
    found = settings.CONNECTOR_CREDENTIALS[slug]
    own = [found["client_secret"]] if _secret_name(slug) == "client_secret" else []
    return tuple(secret for text in (*own, *found["webhook_secret"].split(",")) if (secret := text.strip()))


def refuse_unsigned_sources() -> None:
    """At the start of every process: an offered provider whose webhooks could not be checked. Raises `ImproperlyConfigured`."""
    for slug in sorted({*settings.REGISTERED_CONNECTORS, *settings.SIMULATORS} & set(settings.CONNECTOR_CREDENTIALS)):
        is_real = slug in settings.REGISTERED_CONNECTORS
        environment = Connection.Environment.PRODUCTION if is_real else Connection.Environment.SIMULATOR
        if connector(slug).webhooks is not None and not webhook_secrets(slug, environment):
            name = _secret_name(slug)
            raise ImproperlyConfigured(
                f"CONNECTOR_{slug.upper()}_{name.upper()} must be set: {connector(slug).manifest.name} is offered, and without it "
                "nobody could tell its webhooks from forged ones."
            )


def _secret_name(slug: str) -> str:
    scheme = connector(slug).manifest.webhooks
    return "client_secret" if scheme is not None and scheme.signed_with == "client_secret" else "webhook_secret"


def simulator_url(slug: str, environment: str) -> str:
    """The simulator that stands in for the provider, or nothing for real environments. Raises `TransientError` where the settings
    no longer name one: nobody of the tenant can do anything, and all goes on once they do."""
    if environment != Connection.Environment.SIMULATOR:
        return ""
    if slug not in settings.SIMULATORS:
        raise TransientError(
            f"The simulator of {connector(slug).manifest.name} that this belongs to is not set up on this server any more."
        )
    return str(settings.SIMULATORS[slug])


def is_offered(slug: str, environment: str) -> bool:
    """Whether consent can be given here: not once the registration was taken away, or the simulator."""
    return environment in dict(environments_of(slug))


def environments_of(slug: str) -> list[tuple[str, str]]:
    """The environments a tenant may connect to here: real ones where we are registered, a simulator where one runs."""
    offered = _real_environments(slug) if slug in settings.REGISTERED_CONNECTORS else []
    if slug in settings.SIMULATORS:
        offered.append(Connection.Environment.SIMULATOR)
    return [(choice.value, str(choice.label)) for choice in offered]


def unconfigured_environments(slug: str) -> list[tuple[str, str]]:
    """The provider's own environments that cannot be connected because this server has no registration there."""
    missing = [] if slug in settings.REGISTERED_CONNECTORS else _real_environments(slug)
    return [(choice.value, str(choice.label)) for choice in missing]


def _real_environments(slug: str) -> list[Connection.Environment]:
    hosts = connector(slug).manifest.hosts.values()
    real = (Connection.Environment.PRODUCTION, Connection.Environment.SANDBOX)
    return [choice for choice in real if all(choice.value in host for host in hosts)]


def oauth_for(
    slug: str, environment: str, tenant_settings: Mapping[str, str], connection: Connection | None = None
) -> OAuth:
    """The consent flow of one connector in one environment."""
    found = connector(slug)
    known = {"organisation": connection.organisation_id} if connection else {}
    return found.oauth(
        found.manifest,
        connector_keys(slug),
        environment=environment,
        simulator=simulator_url(slug, environment),
        settings={**known, **tenant_settings},
        http=_token_http(slug),
    )


@cache
def http_for(slug: str) -> httpx.Client:
    """One pool of connections per provider and process; it holds no tenant's credentials."""
    return http_client(connector(slug).client.timeout_seconds, _egress(slug))


@cache
def _token_http(slug: str) -> httpx.Client:
    return http_client(TOKEN_TIMEOUT_SECONDS, _egress(slug))


def _egress(slug: str) -> Egress:
    """The provider's own hosts, and its simulator where the settings name one."""
    return Egress(connector(slug).manifest, simulator=lambda: settings.SIMULATORS.get(slug, ""))
