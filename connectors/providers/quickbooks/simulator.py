"""A simulated Intuit: consent, the Accounting API of its companies, and signed webhooks."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from werkzeug import Request, Response

from connectors.providers.quickbooks.manifest import BATCH_SIZE, MANIFEST
from connectors.providers.quickbooks.simulator_books import (
    ENTITIES,
    NAMED,
    SERVER_ZONE,
    TRANSACTIONS,
    Books,
)
from connectors.providers.quickbooks.simulator_chart import (
    DEFAULT_ITEM,
    accounts,
    company_info,
    currencies,
    preferences,
    tax_codes,
    tax_rates,
)
from connectors.providers.quickbooks.simulator_documents import Documents
from connectors.providers.quickbooks.simulator_faults import (
    Faulted,
    business,
    invalid_value,
    missing,
    too_long,
    unsupported,
)
from connectors.providers.quickbooks.simulator_ledger import as_record, settlements, tax_of
from connectors.providers.quickbooks.simulator_pages import Pages
from connectors.providers.quickbooks.simulator_query import moment, parse, run
from connectors.providers.quickbooks.simulator_reports import trial_balance_report
from connectors.providers.quickbooks.simulator_seed import Seeder
from connectors.sdk.client import dump_json
from connectors.sdk.manifest import Limit
from connectors.sdk.records import Company, Record
from connectors.testing import (
    Action,
    Author,
    Delivery,
    Grant,
    OAuthRefusal,
    OAuthRules,
    Refused,
    json_body,
    json_response,
    route,
)

Json = dict[str, Any]

FEED_DAYS = 30
FEED_MAXIMUM = 1000
REQUEST_ID_LENGTH = 50
REQUEST_ID_KEPT = dt.timedelta(hours=24)
BASE = "/v3/company/<realm>"
BY_LOWER_NAME = {name.lower(): name for name in ENTITIES}
#: Entities whose changes Intuit tells of by webhook, of those simulated here.
ANNOUNCED = {"Customer", "Vendor", "Account", "Item", *TRANSACTIONS, "Preferences"}
VERBS: dict[str, tuple[str, str]] = {
    "create": ("created", "Create"),
    "update": ("updated", "Update"),
    "void": ("voided", "Void"),
    "delete": ("deleted", "Delete"),
}


class QuickBooksSimulator(Pages):
    """`sends_cloud_events`: the webhook format since 2026; False sends the one before. `limits` may be changed by tests."""

    slug = MANIFEST.slug
    name = MANIFEST.name
    oauth_rules = OAuthRules(
        authorize_path="/connect/oauth2",
        token_path="/oauth2/v1/tokens/bearer",
        revoke_path="/v2/oauth2/tokens/revoke",
        rotation="lazy",
        rotation_seconds=24 * 3600,
        access_seconds=3600,
        refresh_seconds=100 * 86400,
        client_auth="basic",
    )
    default_organisations = (
        {
            "id": "9130350000000001",
            "name": "Harbor Goods Inc",
            "base_currency": "USD",
            "currencies": ["CAD"],
            "country": "US",
            "time_zone": "America/Los_Angeles",
        },
        {
            "id": "9130350000000002",
            "name": "Kestrel Trading Ltd",
            "base_currency": "GBP",
            "currencies": ["EUR"],
            "country": "GB",
            "time_zone": "Europe/London",
        },
    )
    webhook_retries = (10, 20, 30, 300, 1200, 7200, 14400, 21600, 21600, 21600)
    webhook_timeout = 3.0
    sends_cloud_events = True
    limits: tuple[Limit, ...] = MANIFEST.limits

    # ------------------------------------------------------------------ consent

    def callback_extras(self, organisation: str) -> dict[str, str]:
        return {"realmId": organisation}

    def token_answer(self, grant: Grant, answer: Json) -> Json:
        return {
            "token_type": "bearer",
            "access_token": answer["access_token"],
            "expires_in": answer["expires_in"],
            "refresh_token": answer["refresh_token"],
            "x_refresh_token_expires_in": int(self.oauth_rules.refresh_seconds),
        }

    def oauth_error(self, refusal: OAuthRefusal) -> Response:
        words = {"invalid_grant": "Incorrect or invalid refresh token"}.get(refusal.code, refusal.code)
        return json_response({"error": refusal.code, "error_description": words}, refusal.status)

    # ------------------------------------------------------------------ companies

    def on_organisation(self, organisation: Json) -> None:
        books = self.books(str(organisation["id"]))
        country, currency = str(organisation.get("country", "")), str(organisation["base_currency"])
        if not len(books.rows("Account")):
            for id, body in accounts(country, currency):
                books.add("Account", body, id=id)
            for id, body in tax_codes(country):
                books.add("TaxCode", body, id=id)
            for id, body in tax_rates(country):
                books.add("TaxRate", body, id=id)
            services = {"Name": "Services", "IncomeAccountRef": {"value": "1"}}
            books.create_entry("Item", services, id=DEFAULT_ITEM)
        self._put_single(books, "CompanyInfo", company_info(organisation))
        self._put_single(books, "Preferences", preferences(organisation))
        for code in currencies(organisation)[1:]:
            if code not in books.rows("CompanyCurrency"):
                books.add("CompanyCurrency", {"Code": code, "Name": code, "Active": True}, id=code)

    def _put_single(self, books: Books, entity: str, body: Json) -> None:
        known = books.rows(entity).get("1")
        if known is None:
            books.add(entity, body, id="1")
        elif any(known.get(name) != value for name, value in body.items()) or known.keys() - body.keys() - _KEPT:
            books.save(entity, {**{name: known[name] for name in _KEPT}, **body})

    def books(self, realm: str) -> Books:
        return Books(self.store, self.organisation(realm), self.now, self.next_id)

    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        seeder, ids = Seeder(self.books(organisation)), []
        for record in records:
            if isinstance(record, Company):
                ids.append(self._seed_company(organisation, record))
                continue
            entity, row, action = seeder.enter(record, self._entered_at(organisation, record))
            ids.append(str(row["Id"]))
            self._note(organisation, by, action, entity, row)
            if emit:
                self._announce(organisation, entity, row["Id"], action)
        return ids

    def _seed_company(self, organisation: str, record: Company) -> str:
        closed = record.books_closed_until
        self.open_organisation(
            {
                "id": organisation,
                "name": record.name,
                "books_closed_until": closed.isoformat() if closed else None,
            }
        )
        return organisation

    def _entered_at(self, organisation: str, record: Record) -> dt.datetime:
        """The record's own time of change, but never before the lists were last read: QuickBooks sets the time itself."""
        now = self.now().replace(microsecond=0)
        wanted = getattr(record, "updated_at", None) or now
        read = self.store["_read"].get(organisation)
        return now if read and wanted < read["at"] else wanted

    def _note(self, organisation: str, by: Author, action: str, entity: str, row: Json) -> None:
        record = as_record(entity, row)
        verb: Action = "create" if action == "create" else "update"
        if action in ("void", "delete"):
            verb = "void" if action == "void" else "delete"
        if record is not None:
            self.append_ledger(
                organisation=organisation,
                by=by,
                action=verb,
                record=record,
                settles=settlements(entity, row),
                tax=tax_of(entity, row),
            )

    # ------------------------------------------------------------------ calls

    def error_response(self, status: int, message: str) -> Response:
        if status == 401:
            error = {"message": "message=AuthenticationFailed; errorCode=003200; statusCode=401", "code": "3200"}
            return _fault(
                status, "fault", {"error": [error | {"detail": message}], "type": "AUTHENTICATION"}, self._time()
            )
        if status == 403:
            error = {
                "message": "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403",
                "code": "3100",
            }
            return _fault(
                status, "fault", {"error": [error | {"detail": message}], "type": "AUTHORIZATION"}, self._time()
            )
        if status == 429:
            error = {"message": "message=ThrottleExceeded; errorCode=003001; statusCode=429", "code": "3001"}
            return _fault(status, "fault", {"error": [error | {"detail": message}], "type": "THROTTLE"}, self._time())
        kind = "SystemFault" if status >= 500 else "ValidationFault"
        code = "10000" if status >= 500 else "500" if status in (404, 405) else str(4000 if status == 400 else status)
        fault = {"Error": [{"Message": message, "Detail": message, "code": code, "element": ""}], "type": kind}
        return _fault(status, "Fault", fault, self._time())

    @route("GET", f"{BASE}/query")
    @route("POST", f"{BASE}/query")
    def query(self, request: Request, realm: str) -> Response:
        statement = request.args.get("query") or request.get_data(as_text=True)
        return self._call(request, realm, lambda books: {"QueryResponse": self._query(books, statement)})

    @route("GET", f"{BASE}/cdc")
    def cdc(self, request: Request, realm: str) -> Response:
        return self._call(request, realm, lambda books: self._changes(books, request.args))

    @route("POST", f"{BASE}/batch")
    def batch(self, request: Request, realm: str) -> Response:
        return self._call(request, realm, lambda books: self._batch(books, json_body(request), request.args), batches=1)

    @route("GET", f"{BASE}/companyinfo/<id>")
    def read_company(self, request: Request, realm: str, id: str) -> Response:
        return self._call(request, realm, lambda books: {"CompanyInfo": books.get("CompanyInfo", "1")})

    @route("GET", f"{BASE}/preferences")
    def read_preferences(self, request: Request, realm: str) -> Response:
        return self._call(request, realm, lambda books: {"Preferences": books.get("Preferences", "1")})

    @route("GET", f"{BASE}/reports/TrialBalance")
    def trial_balance(self, request: Request, realm: str) -> Response:
        work = partial(trial_balance_report, ledger=self.ledger, args=request.args, time=self._time())
        return self._call(request, realm, work, tells_time=False)

    @route("GET", f"{BASE}/exchangerate")
    def exchange_rate(self, request: Request, realm: str) -> Response:
        return self._call(request, realm, lambda books: {"ExchangeRate": _quoted(books, request.args)})

    @route("GET", f"{BASE}/<entity>/<id>")
    def read(self, request: Request, realm: str, entity: str, id: str) -> Response:
        return self._call(request, realm, lambda books: {_entity(entity): books.get(_entity(entity), id)})

    @route("POST", f"{BASE}/<entity>")
    def write(self, request: Request, realm: str, entity: str) -> Response:
        def work(books: Books) -> Json:
            name, operation = _entity(entity), request.args.get("operation", "")
            options = f"include={request.args.get('include', '')}"
            return {name: self._operate(books, name, json_body(request), operation, options)}

        return self._call(request, realm, work)

    def _call(
        self, request: Request, realm: str, work: Callable[[Books], Json], *, batches: int = 0, tells_time: bool = True
    ) -> Response:
        """One authorised, counted and idempotent call."""
        grant = self.authorised(request)
        if grant.organisation != realm:
            raise Refused(403, "The connection is for another company.")
        counts = {"call": 1} | ({"batch": 1} if batches else {})
        if self.throttle(realm, counts, self.limits) is not None:
            raise Refused(429, "Too many requests.")
        headers = {"intuit_tid": uuid.uuid4().hex}
        books = self.books(realm)
        try:
            request_id = self._request_id(request)
            body = self._remembered(books, request_id) or work(books) | ({"time": self._time()} if tells_time else {})
            if request_id:
                self.store[f"{realm}/_requests"].put(request_id, {"body": body, "at": self.now()})
        except Faulted as fault:
            return json_response({"Fault": fault.body, "time": self._time()}, 400, headers)
        return json_response(body, headers=headers)

    def _request_id(self, request: Request) -> str:
        id = request.args.get("requestid", "")
        if len(id) > REQUEST_ID_LENGTH:
            raise too_long("requestid", REQUEST_ID_LENGTH)
        return id if request.method == "POST" else ""

    def _remembered(self, books: Books, request_id: str) -> Json | None:
        known = self.store[f"{books.realm}/_requests"].get(request_id) if request_id else None
        if known is None or self.now() - known["at"] > REQUEST_ID_KEPT:
            return None
        return dict(known["body"])

    def _time(self) -> str:
        return self.now().astimezone(SERVER_ZONE).isoformat(timespec="milliseconds")

    # ------------------------------------------------------------------ reading

    def _query(self, books: Books, statement: str) -> Json:
        query = parse(statement)
        name = _entity(query.entity)
        self._note_reading(books)
        found = run(query, books.rows(name).values(), has_active=name in NAMED)
        return {name if key == query.entity else key: value for key, value in found.items()}

    def _note_reading(self, books: Books) -> None:
        self.store["_read"].put(books.realm, {"at": self.now()})

    def _changes(self, books: Books, args: Mapping[str, str]) -> Json:
        if not args.get("entities"):
            raise missing("entities")
        since = _since(args.get("changedSince", ""))
        if self.now() - since > dt.timedelta(days=FEED_DAYS):
            detail = f"changedSince must be within the last {FEED_DAYS} days"
            raise Faulted("4001", "Invalid changedSince", detail)
        self._note_reading(books)
        left, blocks = FEED_MAXIMUM, []
        for name in (_entity(part.strip()) for part in args["entities"].split(",")):
            rows = _changed(books, name, since)[:left]
            left -= len(rows)
            blocks.append({name: rows, "startPosition": 1, "maxResults": len(rows)} if rows else {})
        return {"CDCResponse": [{"QueryResponse": blocks}]}

    # ------------------------------------------------------------------ writing

    def _batch(self, books: Books, body: Json, args: Mapping[str, str]) -> Json:
        items = body.get("BatchItemRequest")
        if not items:
            raise missing("BatchItemRequest")
        if len(items) > BATCH_SIZE:
            raise Faulted("1040", "Batch size exceeded", f"Maximum number of batch items is {BATCH_SIZE}.")
        return {"BatchItemResponse": [self._batch_item(books, item) for item in items]}

    def _batch_item(self, books: Books, item: Json) -> Json:
        answer = {"bId": item.get("bId", "")}
        try:
            if "Query" in item:
                return answer | {"QueryResponse": self._query(books, item["Query"])}
            name = next((key for key in item if key in ENTITIES), "")
            if not name:
                raise unsupported(str(item.get("operation", "")))
            operation, options = str(item.get("operation", "")), str(item.get("optionsData", ""))
            return answer | {name: self._operate(books, name, item[name], operation, options)}
        except Faulted as fault:
            return answer | {"Fault": fault.body}

    def _operate(self, books: Books, entity: str, body: Json, operation: str, options: str) -> Json:
        """Create, change, void or delete one object, as the operation or the presence of an Id says."""
        if not isinstance(body, dict):
            raise missing(entity)
        action = "create"
        if operation in ("delete", "void"):
            action = operation
        elif body.get("Id") not in (None, "", "0", 0):
            action = "void" if options == "include=void" else "update"
        before = books.rows(entity).get(str(body.get("Id", "")))
        row = self._do(books, entity, body, action, options)
        self._note(books.realm, "connector", action, entity, before if action == "delete" and before else row)
        self._announce(books.realm, entity, row["Id"], action)
        return row

    def _do(self, books: Books, entity: str, body: Json, action: str, options: str) -> Json:
        if entity not in TRANSACTIONS:
            if action == "create":
                return books.create_entry(entity, body)
            if action == "update":
                return books.update_entry(entity, body)
            raise unsupported(f"{action} {entity}")
        documents = Documents(books)
        if action == "create":
            return documents.create(entity, body, allow_duplicates="allowduplicatedocnum" in options)
        if action == "void" and entity not in ("Invoice", "Payment"):
            raise unsupported(f"void {entity}")
        work = {"update": documents.update, "void": documents.void, "delete": documents.delete}[action]
        return work(entity, body)

    # ------------------------------------------------------------------ webhooks

    def _announce(self, realm: str, entity: str, id: str, action: str) -> None:
        if entity not in ANNOUNCED or not self.oauth.live_grants(realm):
            return
        event_id = str(uuid.uuid4())
        event = self._cloud_event if self.sends_cloud_events else self._old_event
        self.emit(realm, Delivery(event_id=event_id, body=dump_json(event(realm, entity, id, action, event_id))))

    def _cloud_event(self, realm: str, entity: str, id: str, action: str, event_id: str) -> Any:
        return [
            {
                "specversion": "1.0",
                "id": event_id,
                "source": "intuit.simulated",
                "type": f"qbo.{entity.lower()}.{VERBS[action][0]}.v1",
                "datacontenttype": "application/json",
                "time": self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "intuitentityid": id,
                "intuitaccountid": realm,
                "data": {},
            }
        ]

    def _old_event(self, realm: str, entity: str, id: str, action: str, event_id: str) -> Any:
        changed = {
            "id": id,
            "operation": VERBS[action][1],
            "name": entity,
            "lastUpdated": self.now().strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        return {"eventNotifications": [{"realmId": realm, "dataChangeEvent": {"entities": [changed]}}]}

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        secret = self.keys.webhook_secrets[0] if self.keys.webhook_secrets else ""
        digest = hmac.digest(secret.encode(), delivery.body, hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "intuit-signature": base64.b64encode(digest).decode(),
            "intuit-t-id": delivery.event_id,
            **delivery.headers,
        }


_KEPT = {"Id", "SyncToken", "MetaData", "domain", "sparse"}


def _fault(status: int, key: str, fault: Json, time: str) -> Response:
    return json_response({key: fault, "time": time}, status, {"intuit_tid": uuid.uuid4().hex})


def _entity(name: str) -> str:
    found = BY_LOWER_NAME.get(name.lower())
    if found is None:
        raise Faulted("500", "Unsupported Operation", f"Operation on {name} is not supported.")
    return found


def _quoted(books: Books, args: Mapping[str, str]) -> Json:
    """The company's rate of a currency on a day, today's without one."""
    code, day = args.get("sourcecurrencycode", ""), books.date({"TxnDate": args.get("asofdate", "")})
    if code not in currencies(books.organisation):
        raise business(f"The currency is not active in this company: {code}.")
    return {
        "SyncToken": "0",
        "domain": "QBO",
        "AsOfDate": day,
        "SourceCurrencyCode": code,
        "Rate": books.rate(code, day),
        "TargetCurrencyCode": books.home,
    }


def _since(value: str) -> dt.datetime:
    try:
        return moment(value)
    except ValueError as error:
        raise invalid_value("changedSince", value) from error


def _changed(books: Books, entity: str, since: dt.datetime) -> list[Json]:
    """Changed and deleted objects of one kind, oldest change first."""
    rows = [row for row in books.rows(entity).values() if moment(row["MetaData"]["LastUpdatedTime"]) >= since]
    gone = [
        {"domain": "QBO", "status": "Deleted", "Id": one["Id"], "MetaData": {"LastUpdatedTime": one["at"]}}
        for one in books.deleted(entity)
        if moment(one["at"]) >= since
    ]
    return sorted(rows + gone, key=lambda row: moment(row["MetaData"]["LastUpdatedTime"]))


SIMULATOR = QuickBooksSimulator
