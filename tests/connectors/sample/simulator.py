"""The sample ledger's other side."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
from werkzeug import Request, Response

from connectors.sdk.client import dump_json
from connectors.sdk.records import Document, LedgerAccount, Record, decode, encode
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
from connectors.testing.store import Body
from tests.connectors.sample.manifest import MANIFEST


class SampleSimulator(Simulator):
    slug = "sample"
    name = "Sample"
    oauth_rules = OAuthRules(
        authorize_path="/oauth/authorize",
        token_path="/oauth/token",
        revoke_path="/oauth/revoke",
        rotation="strict",
        pkce=True,
    )
    default_organisations = (
        {"id": "kestrel", "name": "Kestrel & Co", "base_currency": "GBP", "country": "GB", "time_zone": "UTC"},
    )

    def error_response(self, status: int, message: str) -> Response:
        return json_response({"error": message}, status)

    def on_organisation(self, organisation: Body) -> None:
        if len(self.store["ledger_account"]) == 0:
            self.seed(organisation["id"], [sales()], by="provider", emit=False)
        company = {"id": organisation["id"], "name": organisation["name"]}
        self.keep("company", organisation["id"], company | {"base_currency": organisation["base_currency"]})

    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        ids = [self.enter(organisation, record, by=by)["id"] for record in records]
        for id, record in zip(ids, records, strict=True):
            if emit:
                self.tell(organisation, record.data_type, id)
        return ids

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        secret = self.keys.webhook_secrets[0].encode()
        signature = base64.b64encode(hmac.digest(secret, delivery.body, hashlib.sha256)).decode()
        return {**delivery.headers, "X-Sample-Signature": signature}

    def enter(self, organisation: str, record: Record, *, by: Author) -> Body:
        is_new = record.id not in self.store[record.data_type]
        id = record.id or str(self.next_id(record.data_type))
        body = {**msgspec.json.decode(encode(record)), "id": id}
        row = self.keep(record.data_type, id, body)
        self.append_ledger(
            organisation=organisation,
            by=by,
            action="create" if is_new else "update",
            record=decode(record.data_type, msgspec.json.encode(body)),
        )
        return row

    def keep(self, data_type: str, id: str, body: Body) -> Body:
        row = {
            "id": id,
            "reference": body.get("reference") or body.get("name", ""),
            "updated_at": self.now().isoformat(),
            "version": self.next_id("version"),
            "record": body,
        }
        return self.store[data_type].put(id, row)

    def tell(self, organisation: str, data_type: str, id: str) -> None:
        note = {"organisation": organisation, "data_type": data_type, "id": id}
        event = str(self.next_id("event"))
        self.emit(organisation, Delivery(event_id=event, body=dump_json(note | {"event": event})))

    def caller(self, request: Request) -> Grant:
        grant = self.authorised(request)
        wait = self.throttle(grant.organisation, {"call": 1}, MANIFEST.limits)
        if wait is not None:
            refusal = self.error_response(429, "Slow down.")
            refusal.headers["Retry-After"] = str(wait)
            raise Refused(429, response=refusal)
        return grant

    @route("GET", "/organisations")
    def list_organisations(self, request: Request) -> Response:
        self.caller(request)
        return json_response({"organisations": self.organisations()})

    @route("GET", "/records/<data_type>")
    def list_records(self, request: Request, data_type: str) -> Response:
        self.caller(request)
        rows = self.store[data_type].values()
        if "ids" in request.args:
            ids = request.args["ids"].split(",")
            return json_response({"rows": [row for row in rows if row["id"] in ids]})
        if "references" in request.args:
            wanted = request.args["references"].split(",")
            return json_response({"rows": [row for row in rows if row["reference"] in wanted]})
        since, after = request.args.get("since", ""), request.args.get("after", "")
        ordered = sorted(rows, key=position)
        if since:
            start = (since, int(after) if after else -1)
            ordered = [row for row in ordered if position(row) > start]
        return json_response({"rows": ordered[: int(request.args["limit"])]})

    @route("POST", "/records/<data_type>/batch")
    def create_records(self, request: Request, data_type: str) -> Response:
        grant = self.caller(request)
        key = request.headers.get("Idempotency-Key", "")
        known = self.store["answers"].get(key) if key else None
        if known is None:
            drafts = json_body(request)["drafts"]
            results = [self.create_one(grant.organisation, data_type, draft) for draft in drafts]
            known = self.store["answers"].put(key, {"results": results})
        return json_response(known)

    def create_one(self, organisation: str, data_type: str, draft: Body) -> Body:
        record = decode(data_type, msgspec.json.encode(draft["record"]))
        refusal = self.refusal(organisation, record)
        if refusal is not None:
            return {"code": refusal[0], "error": refusal[1]}
        row = self.enter(organisation, record, by="connector")
        self.store[data_type].put(row["id"], row | {"reference": draft["reference"]})
        return {"id": row["id"], "version": row["version"], "total": row["record"].get("total")}

    def refusal(self, organisation: str, record: Record) -> tuple[str, str] | None:
        if not isinstance(record, Document):
            return None
        closed_until = self.organisation(organisation)["books_closed_until"]
        if closed_until and record.date.isoformat() <= closed_until:
            return "closed_period", "The period is closed."
        accounts = {row["record"]["code"]: row["record"] for row in self.store["ledger_account"].values()}
        for line in record.lines:
            if line.ledger_account not in accounts:
                return "missing_reference", "There is no such account."
            if accounts[line.ledger_account].get("is_archived"):
                return "archived_account", "The account is archived."
        return None

    @route("PATCH", "/records/<data_type>/<id>")
    def update_record(self, request: Request, data_type: str, id: str) -> Response:
        grant = self.caller(request)
        change, row = json_body(request), self.store[data_type].get(id)
        if row is None or str(row["version"]) != change["version"]:
            return json_response({"code": "stale", "error": "Somebody changed it meanwhile."})
        body = {**row["record"], **{name: value for name, value in change["changes"].items() if value != ""}}
        kept = {name: value for name, value in body.items() if name not in change["empty"]}
        record = decode(data_type, msgspec.json.encode({**kept, "id": id}))
        return json_response(self.enter(grant.organisation, record, by="connector"))

    @route("POST", "/records/<data_type>/<id>/void")
    def void_record(self, request: Request, data_type: str, id: str) -> Response:
        grant = self.caller(request)
        row: Any = self.store[data_type].get(id)
        record = decode(data_type, msgspec.json.encode({**row["record"], "status": "void"}))
        self.append_ledger(organisation=grant.organisation, by="connector", action="void", record=record)
        return json_response(self.keep(data_type, id, msgspec.json.decode(encode(record))))


def position(row: Body) -> tuple[str, int]:
    return row["updated_at"], int(row["id"]) if row["id"].isdigit() else 0


def sales() -> LedgerAccount:
    return LedgerAccount(id="", code="4000", name="Sales", kind="income")


SIMULATOR = SampleSimulator
