"""Stripe in one process: the parts of its API, consent, limits and webhooks that the connector and the SDK use."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from werkzeug import Request, Response

from connectors.providers.stripe import simulator_bodies as bodies
from connectors.providers.stripe.manifest import MANIFEST
from connectors.providers.stripe.money import from_minor
from connectors.providers.stripe.simulator_calls import AccountCalls, listed
from connectors.providers.stripe.simulator_protocol import (
    Body,
    nested,
    refused,
    searched,
)
from connectors.providers.stripe.webhooks import sign
from connectors.sdk.records import Address, Customer, Order, Party, Payout, Refund
from connectors.testing import (
    Delivery,
    Grant,
    OAuthRefusal,
    OAuthRules,
    json_response,
    route,
)

EVENTS_KEPT_SECONDS = 30 * 86_400
SEARCH_LAG_SECONDS = 60
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
CUSTOMER_FIELDS = ("name", "email", "phone", "business_name", "individual_name", "description", "tax_exempt")


class StripeSimulator(AccountCalls):
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

    @route("POST", "/v1/charges/<id>")
    def update_charge(self, request: Request, id: str) -> Response:
        """Words about a payment may change, its money never does."""
        return self.once(request, lambda account, form: self._update_charge(account, form, id))

    def _update_charge(self, account: str, form: Body, id: str) -> Response:
        known = self.known(account, "charges", id, "charge")
        unknown = set(form) - {"description", "metadata", "expand", "receipt_email"}
        if unknown:
            name = min(unknown)
            raise refused(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
        words = {name: form[name] or None for name in ("description", "receipt_email") if name in form}
        notes = {**known["metadata"], **(form.get("metadata") or {})}
        metadata = {name: value for name, value in notes.items() if value}
        body = self.keep(account, "charges", known | words | {"metadata": metadata})
        self.tell(account, "charge.updated", body, emit=True)
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

    @route("POST", "/v1/payouts")
    def create_payout(self, request: Request) -> Response:
        """By hand, for accounts whose automatic payouts are off."""
        return self.once(request, self._create_payout)

    def _create_payout(self, account: str, form: Body) -> Response:
        currency, units = str(form.get("currency", "")).upper(), str(form.get("amount", ""))
        if not units.isdigit() or int(units) == 0:
            raise refused(400, "Invalid integer: amount", code="parameter_invalid_integer", param="amount")
        if int(units) > self.available(account, currency):
            message = "You have insufficient funds in your Stripe account for this payout."
            raise refused(400, message, code="balance_insufficient", param="amount")
        amount, now = from_minor(int(units), currency), self.now()
        id, arrives = self.new_id("payouts"), (now + dt.timedelta(days=2)).date()
        record = Payout(
            id=id,
            paid_date=arrives,
            updated_at=now,
            currency=currency,
            gross=amount,
            fees=Decimal(0),
            net=amount,
            status="in_transit",
        )
        body = self.pay_by_hand(account, bodies.payout(record, id=id, created=self.timestamp()))
        self.append_ledger(organisation=account, by="connector", action="create", record=record)
        return self.answer(account, body, form)

    @route("GET", "/v1/balance_transactions")
    def list_movements(self, request: Request) -> Response:
        return self.listing(request, "balance_transactions", _same("type", "source", "currency"))

    @route("GET", "/v1/balance_transactions/<id>")
    def get_movement(self, request: Request, id: str) -> Response:
        return self.one(request, "balance_transactions", id, "balance transaction")

    # ------------------------------------------------------------------ the account and its events

    @route("GET", "/v1/account")
    def get_account(self, request: Request) -> Response:
        account = self.account_of(request)
        return json_response(bodies.account(self.organisation(account)))

    @route("GET", "/v1/balance")
    def get_balance(self, request: Request) -> Response:
        sums = self.balances(self.account_of(request))
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
        found_page = listed(shown, request.path, has_more=False)
        return json_response({**found_page, "object": "search_result", "next_page": None})

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


def _same(*names: str) -> Callable[[Body, Body], bool]:
    """Matches objects that agree with every one of these filters that is given."""

    def matches(body: Body, query: Body) -> bool:
        return all(str(body.get(name)) == query[name] for name in names if name in query)

    return matches


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
