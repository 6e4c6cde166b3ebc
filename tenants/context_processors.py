"""What every page of a business knows: which one is open, and as whom."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def opened(request: HttpRequest) -> dict[str, Any]:
    return {
        "current_tenant": getattr(request, "tenant", None),
        "membership": getattr(request, "membership", None),
    }
