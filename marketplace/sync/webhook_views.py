"""The endpoint every provider calls: /webhooks/<connector>/<environment>/."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from connectors.registry import UnknownConnector, connector
from marketplace.core.clock import now
from marketplace.installations.clients import webhook_secrets
from marketplace.sync.intake import MAX_BODY_BYTES, NotGenuine, receive_delivery
from tenants.access import public_page

READ_AT_ONCE = 65_536
_ADDRESS = re.compile(r"/webhooks/(?P<slug>[-\w]+)/(?P<environment>[-\w]+)/", re.ASCII)


class DeliveriesFirst:
    """Middleware that takes deliveries straight to their view: they have no session, person or page, so what is below it in the
    list is for everything else. An acknowledgement is what its sender waits for, and they come in thousands."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        address = _ADDRESS.fullmatch(request.path_info)
        return receive(request, **address.groupdict()) if address else self._get_response(request)


@public_page
@csrf_exempt
@require_POST
def receive(request: HttpRequest, slug: str, environment: str) -> HttpResponse:
    """200 with an empty body once committed; 401 for a signature that proves nothing; 413 for a body too large; 411 for one without
    an end that we could know of; 403 for one that came unencrypted where everything is encrypted."""
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        return HttpResponse(status=403)
    try:
        found = connector(slug)
        receive_delivery(
            connector=found,
            environment=environment,
            headers=_headers_of(request),
            body=_body_of(request),
            secrets=webhook_secrets(slug, environment),
            source_address=request.META.get("REMOTE_ADDR", ""),
            at=now(),
        )
    except UnknownConnector:
        return HttpResponse(status=404)
    except NotGenuine:
        return HttpResponse(status=401)
    except BodyTooLarge:
        return HttpResponse(status=413)
    except NoLength:
        return HttpResponse("Send this with a Content-Length.", status=411, content_type="text/plain")
    except UnreadablePostError:
        return HttpResponse(status=400)  # the sender went away in the middle of the body
    return HttpResponse(status=200)


class BodyTooLarge(Exception):
    """More than any provider sends."""


class NoLength(Exception):
    """A body in pieces, behind a web server that does not say where it ends."""


def _body_of(request: HttpRequest) -> bytes:
    """The raw bytes, whether they came with their length or in chunks. Raises `BodyTooLarge`, `NoLength`, `UnreadablePostError`."""
    if _announced_bytes(request) > MAX_BODY_BYTES:
        raise BodyTooLarge
    if not request.META.get("HTTP_TRANSFER_ENCODING"):
        return request.body
    if not request.META.get("wsgi.input_terminated"):
        raise NoLength
    return _read_to_end(request.META["wsgi.input"])


def _read_to_end(stream: IO[bytes]) -> bytes:
    """What the web server puts together from chunks, which Django takes for an empty body."""
    body = bytearray()
    while piece := _next_piece(stream):
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(body)


def _next_piece(stream: IO[bytes]) -> bytes:
    """Chunks that are none are refused in the words of whichever web server we run behind."""
    try:
        return stream.read(READ_AT_ONCE)
    except Exception as error:
        raise UnreadablePostError(str(error)) from error


def _announced_bytes(request: HttpRequest) -> int:
    """A body without a readable length is read as empty, so it is not genuine."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _headers_of(request: HttpRequest) -> dict[str, str]:
    """By lower-case name, as connectors expect them."""
    found = {
        name[5:].replace("_", "-").lower(): value for name, value in request.META.items() if name.startswith("HTTP_")
    }
    found["content-type"] = request.META.get("CONTENT_TYPE", "")
    return found
