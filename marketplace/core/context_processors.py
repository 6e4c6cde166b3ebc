"""What waits in each business, beside its name in the switcher and in the navigation."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, F, Value, When
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from tenants.models import Tenant, User
from tenants.queries import tenants_of

#: An accountant's thousand clients have a page of their own; the switcher holds the open one and those where most waits.
MOST_LISTED = 12


def businesses(request: HttpRequest) -> dict[str, Any]:
    """The switcher's one query, with the counts; stands after `tenants_of_user`, whose list it takes over."""

    def load() -> list[Tenant]:
        user = getattr(request, "user", None)
        if not isinstance(user, User):
            return []
        opened = getattr(request, "tenant", None)
        is_other = Case(When(pk=opened.pk if opened else None, then=Value(0)), default=Value(1))
        waiting = F("summary__waiting_count").desc(nulls_last=True)
        found = tenants_of(user).annotate(waiting_count=F("summary__waiting_count"))
        return sorted(found.order_by(is_other, waiting, "legal_name")[:MOST_LISTED], key=str)

    ours = SimpleLazyObject(load)
    return {"tenants_of_user": ours, "nav_counts": SimpleLazyObject(lambda: _counts(request, ours))}


def _counts(request: HttpRequest, ours: Any) -> dict[str, int]:
    opened = getattr(request, "tenant", None)
    if opened is None:
        return {}
    return {"issues": sum(tenant.waiting_count or 0 for tenant in ours if tenant.pk == opened.pk)}
