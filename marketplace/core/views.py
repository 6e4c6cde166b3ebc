"""For machines that watch us: /healthz and /metrics."""

from __future__ import annotations

import hmac
import sys
from dataclasses import asdict

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views.decorators.cache import never_cache
from django.views.defaults import server_error

from marketplace.core.outages import is_outage
from marketplace.core.queries import figures, health
from tenants.access import public_page

RETRY_AFTER_SECONDS = 30
_LOOPBACK = ("127.0.0.1", "::1")


@never_cache
@public_page
def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the database and the broker answer, a worker consumed a message within the last minute and clocks agree; else 503."""
    found = health()
    words = {name: "ok" if works else "down" for name, works in asdict(found).items()}
    return JsonResponse(words, status=200 if found.is_healthy else 503)


@never_cache
@public_page
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for a scraper on this machine or one with the token; for anybody else there is no such page."""
    if not (_is_local(request) or _has_token(request)):
        raise Http404("No such page.")
    lines = []
    for name, value in figures().items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# TYPE tieout_{name} {kind}", f"tieout_{name} {value:g}"]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")


@public_page
def trouble(request: HttpRequest) -> HttpResponse:
    """Called for an error nobody handled. While the database or the cache is away, or too busy, that is said, and senders are asked to come back."""
    if is_outage(sys.exc_info()[1]):
        page = loader.get_template("503.html").render()
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return server_error(request)


def _is_local(request: HttpRequest) -> bool:
    """From this machine itself; what a proxy on this machine forwards is not."""
    is_forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.META.get("REMOTE_ADDR") in _LOOPBACK and not is_forwarded


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "")
    wanted = f"Bearer {settings.METRICS_TOKEN}"
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given.encode(), wanted.encode())
