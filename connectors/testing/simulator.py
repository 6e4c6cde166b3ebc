"""A provider in one process: API, consent, limits and webhooks, faithful enough for its official SDK."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from connectors.sdk.manifest import Limit
from connectors.sdk.oauth import ConnectorKeys
from connectors.sdk.records import Record
from connectors.testing.consent import Consent
from connectors.testing.control import Control
from connectors.testing.faults import INSTEAD, Fault, Faults, answer_instead, spoilt
from connectors.testing.ledger import ZERO, Action, Author, Ledger, Settlement
from connectors.testing.oauth_server import Grant, OAuthRules, OAuthServer
from connectors.testing.outbox import Delivery, Habits, Outbox
from connectors.testing.routing import Refused, route_map
from connectors.testing.store import Body, Store
from connectors.testing.throttle import Bucket, Throttles

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DEFAULT_KEYS = ConnectorKeys(
    client_id="simulated-client",
    client_secret="simulated-secret",
    webhook_secrets=("simulated-webhook-secret",),
)


class Simulator(Consent):
    """A WSGI application; subclass per provider and export the class as `SIMULATOR`.

    Answer calls with methods decorated with `@route`, each taking the request and the path's variables.
    They run one at a time; what they put into `store` is on disk before the answer leaves. Set own attributes
    before `super().__init__()`: the default organisations are opened there.

    `default_organisations`: what exists from the start: id, name, base_currency, country, time_zone.
    `webhook_retries`: seconds before each further attempt of a delivery.
    """

    slug: ClassVar[str]
    name: ClassVar[str]
    oauth_rules: ClassVar[OAuthRules]
    default_organisations: ClassVar[tuple[Body, ...]] = ()
    webhook_retries: tuple[float, ...] = (60, 600, 3600)
    webhook_timeout: float = 5.0

    def __init__(
        self,
        *,
        state: Path | None = None,
        keys: ConnectorKeys | None = None,
        webhook_url: str = "",
        speed: float = 1.0,
    ) -> None:
        self.keys = keys or DEFAULT_KEYS
        self.speed = speed
        self.lock = threading.RLock()
        self.store = Store(state / f"{self.slug}.sqlite3" if state else None)
        self.faults = Faults()
        self.throttles = Throttles(speed)
        self.counts: Counter[str] = Counter()
        self.ledger = Ledger(self.store)
        self.oauth = OAuthServer(self.oauth_rules, self.keys, self.store, self.now, self.new_token)
        self.outbox = Outbox(
            self,
            self.store["_deliveries"],
            Habits(url=webhook_url),
            now=lambda: self.now().isoformat(),
            speed=speed,
        )
        self._callers: set[tuple[str, str]] = set()
        self._in_flight: Counter[str] = Counter()
        self._caller = threading.local()
        self._counting = threading.Lock()
        self._routes = route_map(type(self), self._oauth_routes())
        self._control = Control(self)
        self._open_defaults()

    # ------------------------------------------------------------------ what a provider implements

    @abstractmethod
    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        """Standard records become native objects, as if `by` had entered them; returns their ids in order.

        An id that is given is kept; an id that is known changes that object. `emit` sends the webhooks a real
        provider would send.
        """

    @abstractmethod
    def error_response(self, status: int, message: str) -> Response:
        """A refusal in this provider's shape."""

    def on_organisation(self, organisation: Body) -> None:
        """An organisation was opened or changed: give a new one its chart of accounts and tax rates."""

    def on_disconnected(self, grant: Grant) -> None:
        """A grant ended at the provider's side: send the webhook that tells of it, if there is one."""

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        """All headers of one attempt, signature included."""
        return dict(delivery.headers)

    def accepts_webhook_answer(self, status: int) -> bool:
        return 200 <= status < 300

    def path_of(self, request: Request) -> str:
        """The path that routes are matched against; override to strip a prefix."""
        return request.path

    def new_token(self, kind: str, organisation: str) -> str:
        """A fresh `access` or `refresh` token in the provider's shape."""
        return secrets.token_urlsafe(32)

    # ------------------------------------------------------------------ what a provider uses

    def now(self) -> dt.datetime:
        """The simulator's clock: real time, or where it was frozen, plus what it was advanced by."""
        clock = self._clock()
        return (clock["frozen_at"] or dt.datetime.now(dt.UTC)) + dt.timedelta(seconds=clock["advanced_seconds"])

    def advance(self, seconds: float) -> None:
        clock = self._clock()
        self.store["_settings"].put("clock", clock | {"advanced_seconds": clock["advanced_seconds"] + seconds})

    def freeze(self, *, is_frozen: bool = True) -> None:
        """Stop the clock, so that several changes carry the same instant; `advance` still moves it."""
        frozen_at = dt.datetime.now(dt.UTC) if is_frozen else None
        self.store["_settings"].put("clock", self._clock() | {"frozen_at": frozen_at})

    def next_id(self, kind: str) -> int:
        return self.store.next_id(kind)

    def authorised(self, request: Request) -> Grant:
        """The grant behind the call's bearer token. Raises `Refused` (401)."""
        return self.grant_of(self.token_of(request))

    def grant_of(self, access_token: str) -> Grant:
        grant = self.oauth.grant_of(access_token)
        if grant is None:
            raise Refused(401, "The access token is expired, revoked or unknown.")
        return grant

    def token_of(self, request: Request) -> str:
        """Override for providers that send the token in a header of their own."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else ""

    def append_ledger(
        self,
        *,
        organisation: str,
        by: Author,
        action: Action,
        record: Record,
        settles: Iterable[Settlement] = (),
        tax: Decimal = ZERO,
    ) -> None:
        """`by` is `connector` for everything that arrived through the API. `settles` are the documents a payment pays; `tax` is how
        much of an expense is tax, of which the record names only the rate."""
        self.ledger.append(
            at=self.now(), organisation=organisation, by=by, action=action, record=record, settles=settles, tax=tax
        )

    def emit(self, organisation: str, delivery: Delivery) -> None:
        """Queue a webhook delivery; it is sent once this call's work is kept."""
        self.outbox.queue(str(self.next_id("_delivery")), organisation, delivery)

    def throttle(self, organisation: str, counts: Mapping[str, int], limits: Sequence[Limit]) -> float | None:
        """Spend from the provider's limits: None, or the seconds the caller has to wait."""
        wait = self.throttles.spend(
            organisation,
            counts,
            limits,
            now=self.now(),
            at_the_same_time=self._in_flight[getattr(self._caller, "token", "")],
        )
        if wait is not None:
            self.counts["refused_429"] += 1
        return wait

    def remaining(self, organisation: str, limit: Limit) -> int:
        """What is left of one limit, for the headers that tell it."""
        return self.throttles.remaining(organisation, limit, now=self.now())

    def bucket(self, organisation: str, *, capacity: float, restore_per_second: float) -> Bucket:
        """The organisation's leaky bucket, restored up to now."""
        return self.throttles.bucket(
            organisation, capacity=capacity, restore_per_second=restore_per_second, now=self.now()
        )

    def organisations(self) -> list[Body]:
        return self.store["_organisations"].values()

    def organisation(self, id: str) -> Body:
        """Raises `Refused` (404)."""
        found = self.store["_organisations"].get(id)
        if found is None:
            raise Refused(404, f"There is no organisation {id}.")
        return found

    # ------------------------------------------------------------------ for the control API and tests

    def open_organisation(self, organisation: Mapping[str, Any]) -> Body:
        """Create an organisation, or change the named attributes of one that exists."""
        id = str(organisation["id"])
        known = self.store["_organisations"].get(id) or {"time_zone": "UTC", "books_closed_until": None}
        opened = self.store["_organisations"].put(id, {**known, **organisation})
        self.on_organisation(opened)
        return opened

    def plant(
        self, organisation: str, records: Sequence[Record], *, by: Author = "staff", emit: bool = False
    ) -> list[str]:
        """`seed`, safely beside calls that are being answered."""
        with self.lock:
            ids = self.seed(organisation, records, by=by, emit=emit)
            self.commit()
        return ids

    def reset(self) -> None:
        """Back to the first day; the clock too."""
        self.outbox.clear()
        self.store.clear()
        self.faults.clear()
        self.throttles.clear()
        self.counts.clear()
        self._callers.clear()
        self._open_defaults()

    def commit(self) -> None:
        self.store.commit()

    def close(self) -> None:
        """Stop sending and write what is left."""
        self.outbox.close()
        with self.lock:
            self.store.close()

    def connections_seen(self) -> int:
        """How many TCP connections callers have opened."""
        return len(self._callers)

    # ------------------------------------------------------------------ one call

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data(cache=True, parse_form_data=False)
        if request.path.startswith("/_sim/"):
            with self.lock:
                response = self._control.answer(request)
                self.commit()
            return response(environ, start_response)
        self._caller.token = self.token_of(request)
        self._count_in_flight(1)
        try:
            return self._answer(request, environ)(environ, start_response)
        finally:
            self._count_in_flight(-1)

    def _count_in_flight(self, change: int) -> None:
        with self._counting:
            self._in_flight[self._caller.token] += change

    def _answer(self, request: Request, environ: WSGIEnvironment) -> Response:
        """The call's answer, with the fault it meets."""
        with self.lock:
            fault = self.faults.take(request.method, request.path, lambda: _content_of(request))
            self._callers.add((environ.get("REMOTE_ADDR", ""), str(environ.get("REMOTE_PORT", ""))))
        early = self._fail_before(fault, request, environ) if fault else None
        if early is not None:
            return early
        with self.lock:
            response = self._dispatch(request)
            self.commit()
        return self._fail_after(fault, response, environ) if fault else response

    def _fail_before(self, fault: Fault, request: Request, environ: WSGIEnvironment) -> Response | None:
        """Trouble that keeps the work from being done."""
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "reset_token":
            with self.lock:
                self.oauth.expire_access(self.token_of(request))
        elif fault.kind in INSTEAD and not fault.works:
            return answer_instead(fault, self.error_response, environ)
        return None

    def _fail_after(self, fault: Fault, response: Response, environ: WSGIEnvironment) -> Response:
        """Trouble that loses the answer to work that was done."""
        if fault.kind in INSTEAD:
            return answer_instead(fault, self.error_response, environ)
        return spoilt(fault, response, environ)

    def _dispatch(self, request: Request) -> Response:
        try:
            rule, variables = self._routes.bind("").match(
                self.path_of(request), method=request.method, return_rule=True
            )
            self.counts[f"{request.method} {rule.rule}"] += 1
            response: Response = getattr(self, rule.endpoint)(request, **variables)
        except Refused as refused:
            return refused.response or self.error_response(refused.status, refused.message)
        except MethodNotAllowed:
            return self.error_response(405, "This method is not allowed here.")
        except HTTPException as error:
            return self.error_response(error.code or 404, "There is nothing here.")
        return response

    def _clock(self) -> Body:
        return self.store["_settings"].get("clock") or {"advanced_seconds": 0.0, "frozen_at": None}

    def _open_defaults(self) -> None:
        for organisation in self.default_organisations:
            if organisation["id"] not in self.store["_organisations"]:
                self.open_organisation(organisation)
        self.commit()


def _content_of(request: Request) -> str:
    """What a call asks for beyond its path."""
    return request.query_string.decode("latin-1") + request.get_data().decode("utf-8", "replace")
