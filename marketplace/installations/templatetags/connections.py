"""What pages below this slice, such as the catalogue's, show about connections."""

from __future__ import annotations

from django import template

from marketplace.installations.clients import environments_of
from marketplace.installations.models import Connection
from marketplace.installations.queries import live_connections_by_connector

register = template.Library()


@register.simple_tag
def live_connections() -> dict[str, list[Connection]]:
    """Every live connection of the business whose context is open, by connector; one query a page."""
    return live_connections_by_connector()


@register.filter
def connected_to(live: dict[str, list[Connection]], slug: str) -> list[Connection]:
    return live.get(slug, [])


@register.filter
def is_offered(slug: str) -> bool:
    """Whether it can be connected here: we are registered at the provider, or its simulator runs."""
    return bool(environments_of(slug))
