"""The flow templates, each written once against the standard records."""

from __future__ import annotations

from marketplace.mapping.templates.base import TargetField, Template
from marketplace.mapping.templates.contacts import CONTACTS
from marketplace.mapping.templates.payouts import PAYOUTS
from marketplace.mapping.templates.refunds import REFUNDS
from marketplace.mapping.templates.sales import DEALS, ORDERS

TEMPLATES: dict[str, Template] = {found.slug: found for found in (ORDERS, REFUNDS, PAYOUTS, CONTACTS, DEALS)}


class UnknownTemplate(LookupError):
    """No flow template has this slug."""


def template(slug: str) -> Template:
    """Raises `UnknownTemplate`."""
    try:
        return TEMPLATES[slug]
    except KeyError:
        raise UnknownTemplate(slug) from None


__all__ = ["TEMPLATES", "TargetField", "Template", "UnknownTemplate", "template"]
