"""Xero as a small server: consent, organisations, the Accounting API 2.0 and its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from werkzeug import Request, Response

from connectors.providers.xero.manifest import MANIFEST
from connectors.providers.xero.simulator_answers import (
    elements_of,
    keep_document,
    organisation_row,
    refusal_of,
    refused_element,
    validation_answer,
)
from connectors.providers.xero.simulator_books import (
    ID_KEYS,
    NAMESPACE,
    Books,
    Invalid,
    Row,
    milliseconds,
    ms_date,
)
from connectors.providers.xero.simulator_contacts import Contacts
from connectors.providers.xero.simulator_documents import (
    BANK_TRANSACTIONS,
    CREDIT_NOTES,
    INVOICES,
    Documents,
)
from connectors.providers.xero.simulator_filters import QueryParseError, Where, ordered, page_of, since
from connectors.providers.xero.simulator_payments import Payments, Transfers, allocate
from connectors.providers.xero.simulator_reports import trial_balance_report
from connectors.providers.xero.simulator_seeding import Seeding
from connectors.providers.xero.values import day
from connectors.sdk.oauth import ConnectorKeys
from connectors.sdk.records import Record
from connectors.testing import (
    Author,
    Delivery,
    Grant,
    OAuthRules,
    Refused,
    Simulator,
    json_body,
    json_response,
    route,
)

API = "/api.xro/2.0"
KESTREL = "8b2f6f0e-51a4-4c5a-9d7e-2f4b7c1d9a01"
KESTREL_EUROPE = "8b2f6f0e-51a4-4c5a-9d7e-2f4b7c1d9a02"

#: Which scope each collection needs; settings are only ever read.
SCOPES = {
    "Organisation": "accounting.settings",
    "Accounts": "accounting.settings",
    "TaxRates": "accounting.settings",
    "Currencies": "accounting.settings",
    "Contacts": "accounting.contacts",
    "Invoices": "accounting.invoices",
    "CreditNotes": "accounting.invoices",
    "Payments": "accounting.payments",
    "BankTransactions": "accounting.banktransactions",
    "BankTransfers": "accounting.banktransactions",
    "Reports": "accounting.reports.trialbalance",
}
DOCUMENT_KINDS = {kind.collection: kind for kind in (INVOICES, CREDIT_NOTES, BANK_TRANSACTIONS)}
PAGED = {"Contacts", "Invoices", "CreditNotes", "Payments", "BankTransactions"}
#: How a refused element of a batch is marked beside its messages.
FLAGS = {
    "Invoices": {"HasErrors": True},
    "CreditNotes": {"HasErrors": True},
    "Contacts": {"HasValidationErrors": True},
    "Payments": {"HasValidationErrors": True},
}
TAKES_IDS = {"Invoices", "Contacts"}

Check = Callable[[Row], Row]
Keep = Callable[[Row], Row]


class XeroSimulator(Simulator):
    slug: ClassVar[str] = "xero"
    name: ClassVar[str] = "Xero"
    oauth_rules: ClassVar[OAuthRules] = OAuthRules(
        authorize_path="/identity/connect/authorize",
        token_path="/connect/token",
        revoke_path="/connect/revocation",
        rotation="grace",
        rotation_seconds=1800,
        access_seconds=1800,
        client_auth="basic",
        pkce=False,
    )
    default_organisations: ClassVar[tuple[Row, ...]] = (
        {
            "id": KESTREL,
            "name": "Kestrel & Co Ltd",
            "base_currency": "GBP",
            "country": "GB",
            "time_zone": "Europe/London",
        },
        {
            "id": KESTREL_EUROPE,
            "name": "Kestrel Europe",
            "base_currency": "EUR",
            "country": "IE",
            "time_zone": "Europe/London",
        },
    )
    #: With growing pauses for a day; then a real Xero would disable the webhook.
    webhook_retries: tuple[float, ...] = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)

    def __init__(
        self,
        *,
        state: Path | None = None,
        keys: ConnectorKeys | None = None,
        webhook_url: str = "",
        speed: float = 1.0,
    ) -> None:
        self._told: list[Row] = []
        self._is_telling = True
        super().__init__(state=state, keys=keys, webhook_url=webhook_url, speed=speed)

    # ------------------------------------------------------------------ what the toolkit asks for

    def on_organisation(self, organisation: Row) -> None:
        Books(self, organisation["id"]).open()

    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        self._is_telling = emit
        try:
            seeding = Seeding(Books(self, organisation), by)
            return [seeding.put(record) for record in records]
        finally:
            self._send_told(organisation)
            self._is_telling = True

    def error_response(self, status: int, message: str) -> Response:
        """Each family of refusals has its own shape at Xero."""
        if status == 429:
            return self._slow_down(1.0, "minute")
        if status in (401, 403):
            detail = f"TokenExpired: {message}" if status == 401 else "AuthorizationUnsuccessful"
            return self._problem(status, detail)
        if status == 404:
            return Response("The resource you're looking for cannot be found", 404)
        if status == 400:
            return validation_answer([], message)
        return json_response({"Title": "An error occurred", "Status": status, "Detail": message}, status)

    def _check_client(self, request: Request, form: Mapping[str, str]) -> None:
        """Xero takes the client's secret as Basic authorisation or, as its own SDK sends it, in the body."""
        if request.authorization is not None:
            super()._check_client(request, form)
        else:
            self.oauth.check_client(form, (form.get("client_id", ""), form.get("client_secret", "")))

    def new_token(self, kind: str, organisation: str) -> str:
        """Access tokens look like the JWT they are at Xero; only the simulator can tell what they grant."""
        if kind != "access":
            return secrets.token_urlsafe(32)
        parts = ({"alg": "RS256", "typ": "JWT"}, {"iss": "https://identity.xero.com", "jti": secrets.token_hex(8)})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join((*encoded, secrets.token_urlsafe(48)))

    def token_answer(self, grant: Grant, answer: dict[str, Any]) -> dict[str, Any]:
        answer = {**answer, "token_type": "Bearer"}
        if "offline_access" not in grant.scopes:
            del answer["refresh_token"]
        return answer

    # ------------------------------------------------------------------ webhooks

    def tell(
        self,
        organisation: str,
        *,
        category: str,
        collection: str,
        id: str,
        is_new: bool,
        about: Row | None = None,
    ) -> None:
        """Remember a change; all changes of one call leave in one delivery."""
        if not self._is_telling:
            return
        event: Row = {
            "resourceUrl": f"https://api.xero.com{API}/{collection}/{id}",
            "resourceId": id,
            "tenantId": organisation,
            "tenantType": "ORGANISATION",
            "eventCategory": category,
            "eventType": "CREATE" if is_new else "UPDATE",
            "eventDateUtc": self.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        }
        self._told.append(event | {"data": about} if category == "CREDITNOTE" else event)

    def _send_told(self, organisation: str) -> None:
        events, self._told = self._told, []
        if not events:
            return
        sequence = [self.next_id("webhook_sequence") for _ in events]
        body = {
            "events": events,
            "firstEventSequence": sequence[0],
            "lastEventSequence": sequence[-1],
            "entropy": secrets.token_hex(10).upper(),
        }
        self.emit(organisation, Delivery(event_id=str(sequence[-1]), body=json.dumps(body).encode()))

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        secret = self.keys.webhook_secrets[0] if self.keys.webhook_secrets else ""
        signature = hmac.digest(secret.encode(), delivery.body, hashlib.sha256)
        return {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Xero-Webhooks/1.0",
            "x-xero-signature": base64.b64encode(signature).decode(),
        }

    def accepts_webhook_answer(self, status: int) -> bool:
        return status == 200

    # ------------------------------------------------------------------ connections

    @route("GET", "/connections")
    @route("GET", "/Connections")
    def connections(self, request: Request) -> Response:
        grant = self.authorised(request)
        found = [self._connection(grant, id) for id in grant.organisations]
        wanted = request.args.get("authEventId")
        return json_response([row for row in found if wanted in (None, row["authEventId"])])

    @route("DELETE", "/connections/<id>")
    @route("DELETE", "/Connections/<id>")
    def disconnect(self, request: Request, id: str) -> Response:
        grant = self.authorised(request)
        for organisation in grant.organisations:
            if self._connection(grant, organisation)["id"] == id:
                for other in self.oauth.live_grants(organisation):
                    if other.user == grant.user:
                        self.oauth.end(other.id)
                return Response("", 204)
        return self.error_response(404, "")

    def _connection(self, grant: Grant, organisation: str) -> Row:
        at = self.now().strftime("%Y-%m-%dT%H:%M:%S.%f0")
        return {
            "id": str(uuid.uuid5(NAMESPACE, f"connection/{grant.user}/{organisation}")),
            "authEventId": str(uuid.uuid5(NAMESPACE, f"consent/{grant.id}")),
            "tenantId": organisation,
            "tenantType": "ORGANISATION",
            "tenantName": self.organisation(organisation)["name"],
            "createdDateUtc": at,
            "updatedDateUtc": at,
        }

    # ------------------------------------------------------------------ reading

    @route("GET", f"{API}/Organisation")
    def read_organisation(self, request: Request) -> Response:
        books = self._books(request, "Organisation")
        return self._answered(request, books, "Organisations", [organisation_row(books)])

    @route("GET", f"{API}/Reports/TrialBalance")
    def read_trial_balance(self, request: Request) -> Response:
        books = self._books(request, "Reports")
        date = day(request.args.get("date")) or self.now().date()
        return self._answered(request, books, "Reports", [trial_balance_report(books, date)])

    @route("GET", f"{API}/<collection>")
    def read_list(self, request: Request, collection: str) -> Response:
        books = self._books(request, collection)
        try:
            rows = self._selected(request, books, collection)
            if collection not in PAGED:
                return self._answered(request, books, collection, rows)
            if not {"page", "pageSize"} & set(request.args):
                summaries = [{**row, "LineItems": []} if "LineItems" in row else row for row in rows]
                return self._answered(request, books, collection, summaries)
            rows, told = page_of(rows, request.args)
        except QueryParseError as error:
            body = {"ErrorNumber": 16, "Type": "QueryParseException", "Message": str(error)}
            return json_response(body, 400)
        return self._answered(request, books, collection, rows, pagination=told)

    @route("GET", f"{API}/<collection>/<id>")
    def read_one(self, request: Request, collection: str, id: str) -> Response:
        books = self._books(request, collection)
        found = books[collection].get(id)
        if found is None and collection == "Invoices":
            entry = books.index(collection).get(id)
            found = books[collection].get(entry["id"]) if entry else None
        if found is None:
            return self.error_response(404, "")
        return self._answered(request, books, collection, [found])

    def _selected(self, request: Request, books: Books, collection: str) -> list[Row]:
        """The rows the parameters ask for. Raises `QueryParseError`."""
        args, rows = request.args, books[collection].values()
        if header := request.headers.get("If-Modified-Since"):
            rows = [row for row in rows if row["_ms"] > milliseconds(since(header))]
        if collection in TAKES_IDS and args.get("IDs"):
            ids = set(args["IDs"].split(","))
            rows = [row for row in rows if row[ID_KEYS[collection]] in ids]
        for name, value in (("InvoiceNumbers", "InvoiceNumber"), ("Statuses", "Status")):
            if collection == "Invoices" and args.get(name):
                wanted = set(args[name].split(","))
                rows = [row for row in rows if row[value] in wanted]
        if collection == "Invoices" and args.get("ContactIDs"):
            wanted = set(args["ContactIDs"].split(","))
            rows = [row for row in rows if row["Contact"]["ContactID"] in wanted]
        if collection == "Contacts" and args.get("includeArchived", "").lower() != "true":
            rows = [row for row in rows if row["ContactStatus"] == "ACTIVE"]
        if collection == "BankTransfers" and args.get("includeDeleted", "").lower() != "true":
            rows = [row for row in rows if row["Status"] != "DELETED"]
        if where := args.get("where"):
            rows = list(filter(Where(where).parse(), rows))
        if "order" in args:
            return ordered(sorted(rows, key=lambda row: row["_ms"]), args["order"])
        return rows

    # ------------------------------------------------------------------ writing

    @route("PUT", f"{API}/<collection>")
    @route("POST", f"{API}/<collection>")
    def write_list(self, request: Request, collection: str) -> Response:
        books = self._books(request, collection, writes=True)
        return self._once(request, lambda: self._write(request, books, collection, None))

    @route("POST", f"{API}/<collection>/<id>")
    def write_one(self, request: Request, collection: str, id: str) -> Response:
        books = self._books(request, collection, writes=True)
        return self._once(request, lambda: self._write(request, books, collection, id))

    @route("PUT", f"{API}/CreditNotes/<id>/Allocations")
    def write_allocations(self, request: Request, id: str) -> Response:
        books = self._books(request, "CreditNotes", writes=True)
        given = elements_of(json_body(request), "Allocations")
        return self._once(
            request,
            lambda: self._batch(request, books, "Allocations", given, dict, partial(allocate, books, id)),
        )

    def _write(self, request: Request, books: Books, collection: str, id: str | None) -> Response:
        given = elements_of(json_body(request), collection)
        if id is not None:
            given = [{**element, ID_KEYS[collection]: id} for element in given]
        check, keep = self._rules(request, books, collection, id)
        return self._batch(request, books, collection, given, check, keep)

    def _rules(self, request: Request, books: Books, collection: str, id: str | None) -> tuple[Check, Keep]:
        """How an element of this call is checked and how it is stored."""
        is_post = request.method == "POST"
        match collection:
            case "Contacts":
                contacts = Contacts(books)
                return partial(contacts.check, may_update=is_post), partial(contacts.keep, by="connector")
            case "Invoices" | "CreditNotes" | "BankTransactions":
                places = 4 if request.args.get("unitdp") == "4" else 2
                documents = Documents(books, DOCUMENT_KINDS[collection], places)
                return documents.check, partial(keep_document, documents)
            case "Payments":
                payments = Payments(books)
                if id is not None:
                    return dict, lambda row: payments.delete(id, by="connector")
                return payments.check, partial(payments.keep, by="connector")
            case "BankTransfers":
                transfers = Transfers(books)
                if is_post:
                    return transfers.check_delete, partial(transfers.keep_deleted, by="connector")
                return transfers.check, partial(transfers.keep, by="connector")
        raise Refused(404)

    def _batch(
        self, request: Request, books: Books, collection: str, given: list[Row], check: Check, keep: Keep
    ) -> Response:
        """All or nothing, unless the call asks for a result of each element."""
        # Bank transfers are created all or none, whatever is asked.
        is_each = request.args.get("summarizeErrors", "").lower() == "false" and collection != "BankTransfers"
        if not is_each:
            refused = [echo for element in given if (echo := refusal_of(element, check)) is not None]
            if refused:
                return validation_answer(refused)
        results = []
        for element in given:
            try:
                row = books.shown(keep(check(element)))
                marks: Row = {"StatusAttributeString": "OK"} if is_each else {"ValidationErrors": []}
                results.append(row | marks)
            except Invalid as invalid:
                echo = refused_element(element, invalid)
                if not is_each:
                    return validation_answer([echo])
                results.append(echo | {"StatusAttributeString": "ERROR", **FLAGS.get(collection, {})})
        self._send_told(books.id)
        return self._answered(request, books, collection, results)

    def _once(self, request: Request, work: Callable[[], Response]) -> Response:
        """A repeated Idempotency-Key answers what the first call answered; with another body it is refused."""
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return work()
        if len(key) > 128:
            return validation_answer([], "The Idempotency-Key is longer than 128 characters")
        token = hashlib.sha256(request.full_path.encode() + request.method.encode() + request.get_data()).hexdigest()
        kept = self.store["idempotency"].get(key)
        window = (MANIFEST.idempotency.window_seconds if MANIFEST.idempotency else 0) * 1000
        if kept is not None and milliseconds(self.now()) - kept["at"] < window:
            if kept["token"] != token:
                return validation_answer([], "The Idempotency-Key was used with a different request")
            return Response(kept["body"], kept["status"], content_type="application/json")
        response = work()
        body = response.get_data(as_text=True)
        entry = {"token": token, "status": response.status_code, "body": body, "at": milliseconds(self.now())}
        self.store["idempotency"].put(key, entry)
        return response

    # ------------------------------------------------------------------ every call

    def _books(self, request: Request, collection: str, *, writes: bool = False) -> Books:
        """The organisation a call may use. Raises `Refused` with the answer Xero would give."""
        grant = self.authorised(request)
        organisation = request.headers.get("xero-tenant-id", "")
        if organisation not in grant.organisations:
            raise Refused(403, response=self._problem(403, "AuthenticationUnsuccessful"))
        if collection not in SCOPES:
            raise Refused(404)
        scope = SCOPES[collection]
        if scope not in grant.scopes and (writes or f"{scope}.read" not in grant.scopes):
            raise Refused(401, response=self._problem(401, "AuthorizationUnsuccessful"))
        wait = self.throttle(organisation, {"call": 1}, MANIFEST.limits)
        if wait is not None:
            raise Refused(429, response=self._slow_down(wait, self._spent(organisation)))
        return Books(self, organisation)

    def _spent(self, organisation: str) -> str:
        """Which limit is used up, in Xero's words."""
        names = ("concurrent", "minute", "day", "appminute")
        for name, limit in zip(names, MANIFEST.limits, strict=True):
            if limit.seconds and self.remaining(organisation, limit) <= 0:
                return name
        return "concurrent"

    def _answered(
        self, request: Request, books: Books, key: str, rows: list[Row], *, pagination: Row | None = None
    ) -> Response:
        body: Row = {
            "Id": str(uuid.uuid4()),
            "Status": "OK",
            "ProviderName": "Tieout",
            "DateTimeUTC": ms_date(self.now()).replace("+0000", ""),
        }
        if pagination is not None:
            body["pagination"] = pagination
        body[key] = [books.shown(row) for row in rows]
        _, minute, day, everybody = MANIFEST.limits
        headers = {
            "X-MinLimit-Remaining": str(self.remaining(books.id, minute)),
            "X-DayLimit-Remaining": str(self.remaining(books.id, day)),
            "X-AppMinLimit-Remaining": str(self.remaining(books.id, everybody)),
        }
        return json_response(body, headers=headers)

    def _problem(self, status: int, detail: str) -> Response:
        title = {401: "Unauthorized", 403: "Forbidden"}[status]
        body = {"Title": title, "Status": status, "Detail": detail, "Instance": str(uuid.uuid4()), "Extensions": {}}
        return json_response(body, status)

    def _slow_down(self, wait: float, problem: str) -> Response:
        """Whole seconds, unless the simulator's time runs faster than ours."""
        seconds = f"{math.ceil(wait)}" if self.speed == 1 else f"{wait:.3f}"
        return Response("", 429, headers={"Retry-After": seconds, "X-Rate-Limit-Problem": problem})


SIMULATOR = XeroSimulator
