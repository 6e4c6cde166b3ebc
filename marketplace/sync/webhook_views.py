"""The endpoint every provider calls: /webhooks/<connector>/<environment>/."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from connectors.registry import UnknownConnector, connector
from marketplace.core.clock import now
from marketplace.installations.clients import webhook_secrets
from marketplace.sync.intake import MAX_BODY_BYTES, NotGenuine, receive_delivery
from tenants.access import public_page


@public_page
@csrf_exempt
@require_POST
def receive(request: HttpRequest, slug: str, environment: str) -> HttpResponse:
    """200 with an empty body once committed; 401 for a signature that proves nothing; 413 for a body too large."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        return HttpResponse(status=413)
    try:
        found = connector(slug)
        receive_delivery(
            connector=found,
            environment=environment,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.body,
            secrets=webhook_secrets(slug, environment),
            source_address=request.META.get("REMOTE_ADDR", ""),
            at=now(),
        )
    except UnknownConnector:
        return HttpResponse(status=404)
    except NotGenuine:
        return HttpResponse(status=401)
    return HttpResponse(status=200)
