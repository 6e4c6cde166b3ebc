"""The endpoint every provider calls: /webhooks/<connector>/<environment>/."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from connectors.registry import UnknownConnector, connector
from marketplace.core.clock import now
from marketplace.installations.registrations import webhook_secrets
from marketplace.sync.intake import MAX_BODY_BYTES, NotGenuine, receive_delivery
from tenants.access import public_page

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

READ_AT_ONCE = 65_536
_ADDRESS = re.compile(r"/webhooks/([-\w]+)/([-\w]+)/", re.ASCII)
_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_NO_LENGTH = "Send this with a Content-Length."


class DeliveriesFirst:
    """The web server's application: it takes deliveries itself and gives everything else to `pages`. Deliveries have no session, person
    or page, so none of what Django does around a request is for them; an acknowledgement is what its sender waits for, and they come in
    thousands."""

    def __init__(self, pages: WSGIApplication) -> None:
        self._pages = pages

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        address = _ADDRESS.fullmatch(environ.get("PATH_INFO", ""))
        if address is None or environ["REQUEST_METHOD"] != "POST":
            return self._pages(environ, start_response)
        try:
            # A session of the database that died, grew old or grew too big is replaced here, as Django does before its requests.
            connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()
            status, words = answer_to(environ, *address.groups())
        except Exception as error:
            return _say(response_for_exception(WSGIRequest(environ), error), start_response)
        start_response(_LINES[status], [("Content-Type", "text/plain"), ("Content-Length", str(len(words)))])
        return (words.encode(),)


def _say(response: HttpResponseBase, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return response


@public_page
@csrf_exempt
@require_POST
def receive(request: HttpRequest, slug: str, environment: str) -> HttpResponse:
    """The same for whoever does not come by `DeliveriesFirst`."""
    status, words = answer_to(request.META, slug, environment)
    return HttpResponse(words, status=status, content_type="text/plain")


def answer_to(environ: dict[str, Any], slug: str, environment: str) -> tuple[int, str]:
    """200 with an empty body once committed; 401 for a signature that proves nothing; 413 for a body too large; 411 for one without
    an end that we could know of; 403 for one that came unencrypted where everything is encrypted."""
    if settings.SECURE_SSL_REDIRECT and not WSGIRequest(environ).is_secure():
        return 403, ""
    try:
        found = connector(slug)
        receive_delivery(
            connector=found,
            environment=environment,
            headers=_headers_of(environ),
            body=_body_of(environ),
            secrets=webhook_secrets(slug, environment),
            source_address=environ.get("REMOTE_ADDR", ""),
            at=now(),
        )
    except UnknownConnector:
        return 404, ""
    except NotGenuine:
        return 401, ""
    except BodyTooLarge:
        return 413, ""
    except NoLength:
        return 411, _NO_LENGTH
    except UnreadablePostError:
        return 400, ""  # the sender went away in the middle of the body
    return 200, ""


class BodyTooLarge(Exception):
    """More than any provider sends."""


class NoLength(Exception):
    """A body in pieces, behind a web server that does not say where it ends."""


def _body_of(environ: dict[str, Any]) -> bytes:
    """The raw bytes, whether they came with their length or in chunks. Raises `BodyTooLarge`, `NoLength`, `UnreadablePostError`."""
    length = _announced_bytes(environ)
    if length > MAX_BODY_BYTES:
        raise BodyTooLarge
    if environ.get("HTTP_TRANSFER_ENCODING"):
        if not environ.get("wsgi.input_terminated"):
            raise NoLength
        return _read_to_end(environ["wsgi.input"])
    body = _read(environ["wsgi.input"], length) if length else b""
    if len(body) < length:
        raise UnreadablePostError("The body ended early.")
    return body


def _read_to_end(stream: IO[bytes]) -> bytes:
    """What the web server puts together from chunks, which Django takes for an empty body."""
    body = bytearray()
    while piece := _read(stream, READ_AT_ONCE):
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(body)


def _read(stream: IO[bytes], count: int) -> bytes:
    """What cannot be read is refused in the words of whichever web server we run behind: chunks that are none, a sender that is gone."""
    try:
        return stream.read(count)
    except Exception as error:
        raise UnreadablePostError(str(error)) from error


def _announced_bytes(environ: dict[str, Any]) -> int:
    """A body without a readable length is read as empty, so it is not genuine."""
    try:
        return max(0, int(environ.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0


def _headers_of(environ: dict[str, Any]) -> dict[str, str]:
    """By lower-case name, as connectors expect them."""
    found = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    found["content-type"] = environ.get("CONTENT_TYPE", "")
    return found
