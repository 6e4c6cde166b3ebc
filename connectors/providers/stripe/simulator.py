"""Stripe in one process: the parts of its API, consent, limits and webhooks that the connector and the SDK use."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any

from werkzeug import Request, Response

from connectors.providers.stripe import simulator_bodies as bodies
from connectors.providers.stripe.manifest import API_VERSION, MANIFEST
from connectors.providers.stripe.money import from_minor
from connectors.providers.stripe.simulator_books import AccountBooks
from connectors.providers.stripe.simulator_protocol import (
    Body,
    Shelf,
    error,
    expanded,
    nested,
    one_page,
    refused,
    searched,
)
from connectors.providers.stripe.webhooks import sign
from connectors.sdk.client import dump_json, parse_json
from connectors.sdk.manifest import Limit
from connectors.sdk.records import Address, Customer, Order, Party, Refund
from connectors.testing import (
    Delivery,
    Grant,
    OAuthRefusal,
    OAuthRules,
    Refused,
    json_response,
    route,
)

ACCOUNT_LIMIT, ENDPOINT_LIMIT = Limit(amount=100, seconds=1), Limit(amount=25, seconds=1)
EVENTS_KEPT_SECONDS = 30 * 86_400
KEYS_KEPT_SECONDS = 86_400
SEARCH_LAG_SECONDS = 60
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
CUSTOMER_FIELDS = ("name", "email", "phone", "business_name", "individual_name", "description", "tax_exempt")

_MESSAGES = {
    401: "Invalid API Key provided: ********",
    403: "The provided key does not have the required permissions for this endpoint on this account.",
    404: "Unrecognized request URL. Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
    429: "Request rate limit exceeded. Learn more about rate limits https://stripe.com/docs/rate-limits.",
}
_CODES = {401: "api_key_expired", 403: "more_permissions_required_for_application", 429: "rate_limit"}


class StripeSimulator(AccountBooks):
    slug = "stripe"
    name = "Stripe"
    oauth_rules = OAuthRules(
        authorize_path="/oauth/v2/authorize",
        token_path="/v1/oauth/token",
        rotation="strict",
        access_seconds=3600,
        refresh_seconds=365 * 86_400,
        client_auth="secret_as_user",
    )
    default_organisations = (
        {
            "id": "acct_kestrel",
            "name": "Kestrel & Co Ltd",
            "base_currency": "GBP",
            "country": "GB",
            "time_zone": "Europe/London",
        },
        {
            "id": "acct_harbor",
            "name": "Harbor Goods Inc",
            "base_currency": "USD",
            "country": "US",
            "time_zone": "America/New_York",
        },
    )
    # Three days of growing pauses.
    webhook_retries = (60, 300, 900, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 86_400)
    webhook_timeout = 10.0

    # ------------------------------------------------------------------ consent

    def _scopes(self, asked: Any) -> tuple[str, ...]:
        """The permissions of the app's listing: the link does not name any."""
        return tuple(scope.name for scope in MANIFEST.auth.scopes)

    def new_token(self, kind: str, organisation: str) -> str:
        token = super().new_token(kind, organisation)
        return f"{'sk_live_sim' if kind == 'access' else 'rt_sim'}_{token}"

    def token_answer(self, grant: Grant, answer: dict[str, Any]) -> dict[str, Any]:
        """Stripe names the account but no lifetime."""
        return {
            "access_token": answer["access_token"],
            "livemode": True,
            "refresh_token": answer["refresh_token"],
            "scope": "stripe_apps",
            "stripe_publishable_key": f"pk_live_{grant.organisation}",
            "stripe_user_id": grant.organisation,
            "token_type": "bearer",
        }

    def oauth_error(self, refusal: OAuthRefusal) -> Response:
        words = {"invalid_grant": "Token has been expired or revoked.", "invalid_client": "No such API key."}
        description = words.get(refusal.code, "The request is not valid.")
        return json_response({"error": refusal.code, "error_description": description}, refusal.status)

    def on_disconnected(self, grant: Grant) -> None:
        application = {"id": self.keys.client_id, "object": "application", "name": "Tieout"}
        self.tell(grant.organisation, "account.application.deauthorized", application, emit=True)

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        """Signed anew at each attempt, with the time on the wall."""
        stamp = int(time.time())
        signed = [f"v1={sign(delivery.body, secret, stamp)}" for secret in self.keys.webhook_secrets]
        header = ",".join([f"t={stamp}", *signed])
        return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": header}

    # ------------------------------------------------------------------ every call

    def error_response(self, status: int, message: str) -> Response:
        return error(status, _MESSAGES.get(status, message), code=_CODES.get(status, ""))

    def token_of(self, request: Request) -> str:
        """The key as bearer, or as the user name of basic authorisation."""
        basic = request.authorization
        if basic is not None and basic.type == "basic":
            return basic.username or ""
        return super().token_of(request)

    def _dispatch(self, request: Request) -> Response:
        response = super()._dispatch(request)
        response.headers["Request-Id"] = f"req_{self.next_id('request'):014d}"
        response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
        response.headers["Date"] = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def account_of(self, request: Request) -> str:
        """Whose key it is, once the call is within the limits."""
        account = self.authorised(request).organisation
        endpoint = f"{request.method} {'/'.join(request.path.split('/')[:3])}"
        spent = {"call": 1}
        for key, limit, reason in (
            (account, ACCOUNT_LIMIT, "global-rate"),
            (f"{account} {endpoint}", ENDPOINT_LIMIT, "endpoint-rate"),
        ):
            if self.throttle(key, spent, [limit]) is not None:
                headers = {"Stripe-Rate-Limited-Reason": reason}
                raise Refused(429, response=error(429, _MESSAGES[429], code="rate_limit", headers=headers))
        return account

    def answer(self, account: str, body: Body, form: Body, status: int = 200) -> Response:
        """One object, with what was to be expanded."""
        return json_response(self._expanded(account, self.shown(body), form.get("expand", [])), status)

    def _expanded(self, account: str, body: Body, paths: list[str]) -> Body:
        return expanded(
            body, paths, lambda id: self.find(account, id), lambda of, name: self._sublist(account, of, name)
        )

    def _sublist(self, account: str, body: Body, name: str) -> Body:
        if name == "tax_ids":
            tax_id = self.kept(account, "tax_ids").get(body["id"])
            found = [tax_id] if tax_id else []
        else:
            found = [one for one in self.shelf(account, "refunds").bodies if one["charge"] == body["id"]][:10]
        return _list(found, f"/v1/{body['object']}s/{body['id']}/{name}", has_more=False)

    def listing(self, request: Request, kind: str, matches: Callable[[Body, Body], bool]) -> Response:
        account = self.account_of(request)
        query = nested(request.args.items(multi=True))
        shelf = self._payout_shelf(account, query) if "payout" in query else self.shelf(account, kind)
        found, has_more = one_page(shelf, query, lambda body: matches(body, query))
        paths = [path.removeprefix("data.") for path in query.get("expand", [])]
        shown = [self._expanded(account, self.shown(body), paths) for body in found]
        return json_response(_list(shown, request.path, has_more=has_more))

    def one(self, request: Request, kind: str, id: str, noun: str) -> Response:
        account = self.account_of(request)
        return self.answer(account, self.known(account, kind, id, noun), nested(request.args.items(multi=True)))

    def known(self, account: str, kind: str, id: str, noun: str) -> Body:
        body = self.kept(account, kind).get(id)
        if body is None:
            raise refused(404, f"No such {noun}: '{id}'", code="resource_missing", param="id")
        return body

    def once(self, request: Request, work: Callable[[str, Body], Response]) -> Response:
        """A POST under its idempotency key: the first answer is given again for a day."""
        account = self.account_of(request)
        form = nested(request.form.items(multi=True))
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 255:
            raise refused(400, "Idempotency keys can be at most 255 characters.", code="idempotency_key_too_long")
        if not key:
            return work(account, form)
        digest = hashlib.sha256(dump_json([request.path, form])).hexdigest()
        before = self.kept(account, "idempotency").get(key)
        if before is not None and before["until"] > self.timestamp():
            return _repeated(before, digest, key)
        response = work(account, form)
        kept = {"digest": digest, "status": response.status_code, "body": response.get_data(as_text=True)}
        self.kept(account, "idempotency").put(key, kept | {"until": self.timestamp() + KEYS_KEPT_SECONDS})
        return response

    # ------------------------------------------------------------------ money

    @route("GET", "/v1/charges")
    def list_charges(self, request: Request) -> Response:
        return self.listing(request, "charges", _same("customer", "payment_intent"))

    @route("GET", "/v1/charges/<id>")
    def get_charge(self, request: Request, id: str) -> Response:
        return self.one(request, "charges", id, "charge")

    @route("POST", "/v1/charges")
    def create_charge(self, request: Request) -> Response:
        """With the test cards' tokens."""
        return self.once(request, self._create_charge)

    def _create_charge(self, account: str, form: Body) -> Response:
        currency = str(form.get("currency", "")).upper()
        units = str(form.get("amount", ""))
        if not units.isdigit() or int(units) == 0:
            raise refused(400, "Invalid integer: amount", code="parameter_invalid_integer", param="amount")
        if len(currency) != 3:
            raise refused(400, f"Invalid currency: {currency.lower()}", param="currency")
        if form.get("source") == "tok_chargeDeclined":
            raise refused(402, "Your card was declined.", code="card_declined", decline_code="generic_decline")
        customer = form.get("customer")
        if customer:
            self.known(account, "customers", customer, "customer")
        is_captured = form.get("capture", "true") != "false"
        moment = self.now().replace(microsecond=0)
        metadata = dict(form.get("metadata") or {})
        record = Order(
            id=self.new_id("charges"),
            number=metadata.pop("order_number", ""),
            placed_at=moment,
            updated_at=moment,
            currency=currency,
            total=from_minor(int(units), currency),
            status="paid" if is_captured else "open",
            customer=Party(id=customer or ""),
            note=form.get("description", ""),
            custom=metadata,
        )
        body = bodies.charge(record, id=record.id, customer=customer)
        if not record.number:
            body["metadata"].pop("order_number")
        body = self.settle_charge(account, body) if is_captured else body
        self.keep(account, "charges", body)
        self.tell(account, "charge.succeeded", body, emit=True)
        self.append_ledger(organisation=account, by="connector", action="create", record=record)
        return self.answer(account, body, form)

    @route("GET", "/v1/refunds")
    def list_refunds(self, request: Request) -> Response:
        return self.listing(request, "refunds", _same("charge", "payment_intent"))

    @route("GET", "/v1/refunds/<id>")
    def get_refund(self, request: Request, id: str) -> Response:
        return self.one(request, "refunds", id, "refund")

    @route("POST", "/v1/refunds")
    def create_refund(self, request: Request) -> Response:
        return self.once(request, self._create_refund)

    def _create_refund(self, account: str, form: Body) -> Response:
        charge = self.known(account, "charges", str(form.get("charge", "")), "charge")
        left = charge["amount_captured"] - charge["amount_refunded"]
        units = str(form.get("amount", left))
        if not units.isdigit():
            raise refused(400, f"Invalid integer: {units}", code="parameter_invalid_integer", param="amount")
        body = self.give_back(
            account, charge, int(units), created=self.timestamp(), id="", reason=form.get("reason"), emit=True
        )
        moment, currency = self.now(), charge["currency"].upper()
        record = Refund(
            id=body["id"],
            order_id=charge["id"],
            refunded_at=moment,
            updated_at=moment,
            currency=currency,
            total=from_minor(int(units), currency),
        )
        self.append_ledger(organisation=account, by="connector", action="create", record=record)
        return self.answer(account, body, form)

    @route("GET", "/v1/payouts")
    def list_payouts(self, request: Request) -> Response:
        return self.listing(request, "payouts", _same("status"))

    @route("GET", "/v1/payouts/<id>")
    def get_payout(self, request: Request, id: str) -> Response:
        return self.one(request, "payouts", id, "payout")

    @route("GET", "/v1/balance_transactions")
    def list_movements(self, request: Request) -> Response:
        return self.listing(request, "balance_transactions", _same("type", "source", "currency"))

    @route("GET", "/v1/balance_transactions/<id>")
    def get_movement(self, request: Request, id: str) -> Response:
        return self.one(request, "balance_transactions", id, "balance transaction")

    def _payout_shelf(self, account: str, query: Body) -> Shelf:
        """What one payout was made of. Stripe tells it of automatic payouts only."""
        payout = self.known(account, "payouts", query["payout"], "payout")
        if not payout["automatic"]:
            message = "Balance transaction history can only be filtered on automatic transfers, not manual."
            raise refused(400, message, param="payout")
        contents = self.kept(account, "payout_contents").get(payout["id"]) or {"ids": []}
        found = [self.kept(account, "balance_transactions").get(id) for id in contents["ids"]]
        return Shelf.of(body for body in found if body)

    # ------------------------------------------------------------------ the account and its events

    @route("GET", "/v1/account")
    def get_account(self, request: Request) -> Response:
        account = self.account_of(request)
        return json_response(bodies.account(self.organisation(account)))

    @route("GET", "/v1/balance")
    def get_balance(self, request: Request) -> Response:
        account = self.account_of(request)
        sums: dict[tuple[str, str], int] = {}
        for body in map(self.shown, self.shelf(account, "balance_transactions").bodies):
            place = (body["status"], body["currency"])
            sums[place] = sums.get(place, 0) + body["net"]
        parts = {
            status: [{"amount": sum_, "currency": code} for (kind, code), sum_ in sums.items() if kind == status]
            for status in ("available", "pending")
        }
        return json_response({"object": "balance", "livemode": True, **parts})

    @route("GET", "/v1/events")
    def list_events(self, request: Request) -> Response:
        """Of the last 30 days."""
        oldest = self.timestamp() - EVENTS_KEPT_SECONDS

        def matches(body: Body, query: Body) -> bool:
            types = query.get("types") or ([query["type"]] if "type" in query else [])
            return body["created"] >= oldest and (not types or body["type"] in types)

        return self.listing(request, "events", matches)

    @route("GET", "/v1/events/<id>")
    def get_event(self, request: Request, id: str) -> Response:
        return self.one(request, "events", id, "event")

    # ------------------------------------------------------------------ customers

    @route("GET", "/v1/customers")
    def list_customers(self, request: Request) -> Response:
        return self.listing(request, "customers", _same("email"))

    @route("GET", "/v1/customers/search")
    def search_customers(self, request: Request) -> Response:
        """The index is a minute behind."""
        account = self.account_of(request)
        query = nested(request.args.items(multi=True))
        known = self.shelf(account, "customers").bodies
        indexed = [body for body in known if body["created"] <= self.timestamp() - SEARCH_LAG_SECONDS]
        found = searched(indexed, str(query.get("query", "")))[: int(query.get("limit", 10))]
        paths = [path.removeprefix("data.") for path in query.get("expand", [])]
        shown = [self._expanded(account, body, paths) for body in found]
        listed = _list(shown, request.path, has_more=False)
        return json_response({**listed, "object": "search_result", "next_page": None})

    @route("GET", "/v1/customers/<id>")
    def get_customer(self, request: Request, id: str) -> Response:
        return self.one(request, "customers", id, "customer")

    @route("POST", "/v1/customers")
    def create_customer(self, request: Request) -> Response:
        key = request.headers.get("Idempotency-Key")
        return self.once(request, lambda account, form: self._create_customer(account, form, key))

    def _create_customer(self, account: str, form: Body, key: str | None) -> Response:
        blank = bodies.customer(Customer(id="", name=""), id=self.new_id("customers"), created=self.timestamp())
        body = self.keep(account, "customers", _changed_customer(blank, form))
        self.tell(account, "customer.created", body, emit=True, key=key)
        self.append_ledger(organisation=account, by="connector", action="create", record=_customer(body))
        return self.answer(account, body, form)

    @route("POST", "/v1/customers/<id>")
    def update_customer(self, request: Request, id: str) -> Response:
        return self.once(request, lambda account, form: self._update_customer(account, form, id))

    def _update_customer(self, account: str, form: Body, id: str) -> Response:
        known = self.known(account, "customers", id, "customer")
        if known.get("deleted"):
            raise refused(404, f"No such customer: '{id}'", code="resource_missing", param="id")
        body = self.keep(account, "customers", _changed_customer(known, form))
        self.tell(account, "customer.updated", body, emit=True)
        self.append_ledger(organisation=account, by="connector", action="update", record=_customer(body))
        return self.answer(account, body, form)

    @route("DELETE", "/v1/customers/<id>")
    def delete_customer(self, request: Request, id: str) -> Response:
        account = self.account_of(request)
        known = self.known(account, "customers", id, "customer")
        if known.get("deleted"):
            raise refused(404, f"No such customer: '{id}'", code="resource_missing", param="id")
        gone = {"id": id, "object": "customer", "deleted": True}
        self.keep(account, "customers", gone)
        self.tell(account, "customer.deleted", known, emit=True)
        self.append_ledger(organisation=account, by="connector", action="delete", record=_customer(known))
        return json_response(gone)


def _list(data: list[Body], url: str, *, has_more: bool) -> Body:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _same(*names: str) -> Callable[[Body, Body], bool]:
    """Matches objects that agree with every one of these filters that is given."""

    def matches(body: Body, query: Body) -> bool:
        return all(str(body.get(name)) == query[name] for name in names if name in query)

    return matches


def _repeated(before: Body, digest: str, key: str) -> Response:
    if before["digest"] != digest:
        message = f"Keys for idempotent requests can only be used with the same parameters. Key: {key}"
        raise refused(400, message, type="idempotency_error")
    headers = {"Idempotent-Replayed": "true"}
    return json_response(parse_json(before["body"]), before["status"], headers)


def _changed_customer(body: Body, form: Body) -> Body:
    """The customer with the form's values; an empty one takes the old away."""
    unknown = set(form) - {*CUSTOMER_FIELDS, "address", "metadata", "expand", "shipping"}
    if unknown:
        name = min(unknown)
        raise refused(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    email = form.get("email")
    if email and not EMAIL.fullmatch(email):
        raise refused(400, f"Invalid email address: {email}", code="email_invalid", param="email")
    for name, most in (("phone", 20), ("name", 256), ("email", 512)):
        if len(form.get(name, "")) > most:
            raise refused(400, f"Invalid string: must be at most {most} characters", param=name)
    changed = body | {name: form[name] or None for name in CUSTOMER_FIELDS if name in form}
    if "address" in form:
        changed["address"] = _changed_address(form["address"])
    notes = {**body["metadata"], **(form.get("metadata") or {})}
    return changed | {"metadata": {name: value for name, value in notes.items() if value}}


def _changed_address(form: Any) -> Body | None:
    """A given address replaces the old one; an empty one takes it away."""
    if not form:
        return None
    country = str(form.get("country") or "")
    if country and (len(country) != 2 or not country.isalpha()):
        message = f"Country '{country}' is unknown. Try using a 2-character alphanumeric country code instead."
        raise refused(400, message, param="address[country]")
    return {name: form.get(name) or None for name in ("city", "country", "line1", "line2", "postal_code", "state")}


def _customer(body: Body) -> Customer:
    """What the ledger of the simulator notes of a customer."""
    where = body["address"] or {}
    return Customer(
        id=body["id"],
        name=body["name"] or "",
        email=body["email"] or "",
        phone=body["phone"] or "",
        company=body["business_name"] or "",
        address=Address(line1=where.get("line1") or "", country=where.get("country") or ""),
    )


SIMULATOR = StripeSimulator
