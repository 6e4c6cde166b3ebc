"""How every page names a connection, and what pages below this slice, such as the catalogue's, show about them."""

from __future__ import annotations

from django import template

from connectors.registry import connector
from marketplace.installations import queries
from marketplace.installations.models import Connection
from marketplace.installations.registrations import environments_of

register = template.Library()
register.filter("connection_name", queries.connection_name)


@register.simple_tag
def live_connections() -> dict[str, list[Connection]]:
    """Every live connection of the business whose context is open, by connector; one query a page."""
    return queries.live_connections_by_connector()


@register.filter
def connected_to(live: dict[str, list[Connection]], slug: str) -> list[Connection]:
    return live.get(slug, [])


@register.filter
def provider_name(connection: Connection) -> str:
    return connector(connection.connector).manifest.name


@register.filter
def is_offered(slug: str) -> bool:
    """Whether it can be connected here: we are registered at the provider, or its simulator runs."""
    return bool(environments_of(slug))
