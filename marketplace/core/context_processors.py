"""What waits in each business, beside its name in the switcher and in the navigation."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from marketplace.core.queries import most_pressing_businesses
from tenants.models import Tenant, User

#: An accountant's thousand clients have a page of their own; the switcher holds the open one and those where most waits.
MOST_LISTED = 12


def businesses(request: HttpRequest) -> dict[str, Any]:
    """The switcher's one query, with the counts; only on pages that show it."""

    def load() -> list[Tenant]:
        user = getattr(request, "user", None)
        if not isinstance(user, User):
            return []
        return sorted(most_pressing_businesses(user, getattr(request, "tenant", None), MOST_LISTED), key=str)

    ours = SimpleLazyObject(load)
    return {"tenants_of_user": ours, "nav_counts": SimpleLazyObject(lambda: _counts(request, ours))}


def _counts(request: HttpRequest, ours: Any) -> dict[str, int]:
    opened = getattr(request, "tenant", None)
    if opened is None:
        return {}
    return {"issues": sum(tenant.waiting_count or 0 for tenant in ours if tenant.pk == opened.pk)}
