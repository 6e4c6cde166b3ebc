"""What every page shows: the businesses to switch between, and the one that is open."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from tenants.models import Tenant, User
from tenants.queries import tenants_of


def tenants_of_user(request: HttpRequest) -> dict[str, Any]:
    """One query, and only on pages that show the switcher."""

    def load() -> list[Tenant]:
        user = getattr(request, "user", None)
        return list(tenants_of(user)) if isinstance(user, User) else []

    return {
        "tenants_of_user": SimpleLazyObject(load),
        "current_tenant": getattr(request, "tenant", None),
        "membership": getattr(request, "membership", None),
    }
