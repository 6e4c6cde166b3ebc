"""What a simulated Stripe account holds, and how staff, buyers and Stripe itself add to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from connectors.providers.stripe import simulator_bodies as bodies
from connectors.providers.stripe.manifest import API_VERSION
from connectors.providers.stripe.simulator_protocol import Body, Shelf, refused
from connectors.sdk.client import dump_json
from connectors.sdk.records import BalanceTransaction, Company, Customer, Order, Payout, Record, Refund
from connectors.testing import Author, Collection, Delivery, Simulator

PREFIXES = {
    "charges": "ch",
    "refunds": "re",
    "payouts": "po",
    "balance_transactions": "txn",
    "customers": "cus",
    "events": "evt",
}
SALES = ("charge", "payment")
REFUNDS = ("refund", "payment_refund", "refund_failure", "payment_failure_refund")
FEES = ("stripe_fee", "tax_fee", "network_cost")


class AccountBooks(Simulator):
    """Collections are kept apart by account: nothing of one is ever found from another."""

    def __init__(self, **options: Any) -> None:
        self._shelves: dict[str, Shelf] = {}
        super().__init__(**options)

    # ------------------------------------------------------------------ keeping

    def kept(self, account: str, kind: str) -> Collection:
        return self.store[f"{account}/{kind}"]

    def keep(self, account: str, kind: str, body: Body) -> Body:
        """Put an object in place of its former self; bodies are replaced, never changed, so events stay as they were."""
        if self.kept(account, kind).get(body["id"]) is None or body.get("deleted"):
            self._shelves.pop(f"{account}/{kind}", None)
        else:
            self._replace(account, kind, body)
        return self.kept(account, kind).put(body["id"], body)

    def _replace(self, account: str, kind: str, body: Body) -> None:
        shelf = self._shelves.get(f"{account}/{kind}")
        if shelf is not None:
            shelf.bodies[shelf.places[body["id"]]] = body

    def shelf(self, account: str, kind: str) -> Shelf:
        name = f"{account}/{kind}"
        if name not in self._shelves:
            self._shelves[name] = Shelf.of(self.kept(account, kind).values())
        return self._shelves[name]

    def find(self, account: str, id: str) -> Body | None:
        """Any object of the account by its id."""
        for kind in PREFIXES:
            found = self.kept(account, kind).get(id)
            if found is not None:
                return self.shown(found)
        return None

    def shown(self, body: Body) -> Body:
        """An object as of today: a movement becomes available by the passing of days."""
        if body.get("object") != "balance_transaction":
            return body
        is_available = body["available_on"] <= self.now().timestamp()
        return body | {"status": "available" if is_available else "pending"}

    def new_id(self, kind: str) -> str:
        """Ends in a letter, so that no id is another's with its last figure changed."""
        number = self.next_id(kind)
        return f"{PREFIXES[kind]}_3Sim{number:019d}{'ABCDEFGH'[number % 8]}"

    def reset(self) -> None:
        self._shelves.clear()
        super().reset()

    def timestamp(self) -> int:
        return bodies.unix(self.now())

    # ------------------------------------------------------------------ events

    def tell(self, account: str, type: str, body: Body, *, emit: bool, key: str | None = None) -> None:
        """Add to the account's list of events, and send it to the app's endpoint."""
        event: Body = {
            "id": self.new_id("events"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.timestamp(),
            "data": {"object": self.shown(body)},
            "livemode": bool(body.get("livemode", True)),
            "pending_webhooks": 1 if emit else 0,
            "request": {"id": None, "idempotency_key": key},
            "type": type,
        }
        self.keep(account, "events", event)
        if emit:
            self.emit(account, Delivery(event_id=event["id"], body=dump_json(event | {"account": account})))

    # ------------------------------------------------------------------ seeding

    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        self.organisation(organisation)
        makers: dict[str, Callable[..., Body]] = {
            "order": self._seed_order,
            "refund": self._seed_refund,
            "payout": self._seed_payout,
            "balance_transaction": self._seed_movement,
            "customer": self._seed_customer,
            "company": self._seed_company,
        }
        ids = []
        for record in records:
            if record.data_type not in makers:
                raise refused(400, f"Stripe has no {record.data_type}.")
            is_known = bool(record.id) and self.find(organisation, record.id) is not None
            body = makers[record.data_type](organisation, record, emit)
            ids.append(body["id"])
            line = msgspec.structs.replace(record, id=body["id"])
            self.append_ledger(organisation=organisation, by=by, action="update" if is_known else "create", record=line)
        return ids

    def _seed_order(self, account: str, record: Order, emit: bool) -> Body:
        known = self.kept(account, "charges").get(record.id) if record.id else None
        if known is not None:
            return self._change_charge(account, known, record, emit)
        customer = self._payer(account, record, emit)
        body = bodies.charge(record, id=record.id or self.new_id("charges"), customer=customer)
        if body["captured"]:
            body = self.settle_charge(account, body, fee=self._given_fee(account, record))
        self.keep(account, "charges", body)
        self.tell(account, "charge.succeeded", body, emit=emit)
        return body

    def _change_charge(self, account: str, known: Body, record: Order, emit: bool) -> Body:
        """Money never changes; an open authorisation may be captured or let go."""
        body = known | {
            "description": record.note or known["description"],
            "metadata": known["metadata"] | {name: str(value) for name, value in record.custom.items()},
        }
        type_ = "charge.updated"
        if not known["captured"] and record.status == "paid":
            type_ = "charge.captured"
            captured = body | {"captured": True, "amount_captured": body["amount"]}
            body = self.settle_charge(account, captured, fee=self._given_fee(account, record))
        elif not known["captured"] and record.status == "cancelled":
            type_, body = "charge.expired", body | {"refunded": True, "amount_refunded": body["amount"]}
        self.keep(account, "charges", body)
        self.tell(account, type_, body, emit=emit)
        return body

    def _payer(self, account: str, record: Order, emit: bool) -> str | None:
        """The customer on file, who comes to be with the payment when the id is new."""
        id = record.customer.id
        if id and self.kept(account, "customers").get(id) is None:
            known = Customer(id=id, name=record.customer.name, email=record.customer.email)
            body = bodies.customer(known, id=id, created=bodies.unix(record.placed_at))
            self.keep(account, "customers", body)
            self.tell(account, "customer.created", body, emit=emit)
        return id or None

    def settlement_currency(self, account: str) -> str:
        return str(self.organisation(account)["base_currency"])

    def _given_fee(self, account: str, record: Order) -> int | None:
        """The fee the seeded payments carry, in the settlement currency; None leaves it to Stripe's prices."""
        fee = sum((payment.fee_amount for payment in record.payments), start=Decimal(0))
        if not fee:
            return None
        units = bodies.in_units(fee, record.currency)
        return bodies.settled(units, record.currency, self.settlement_currency(account))

    def settle_charge(self, account: str, charge: Body, *, fee: int | None = None) -> Body:
        """Put what was captured on the balance, less Stripe's fee."""
        currency, own = charge["currency"].upper(), self.settlement_currency(account)
        amount = bodies.settled(charge["amount_captured"], currency, own)
        movement = bodies.movement(
            id=self.new_id("balance_transactions"),
            kind="charge",
            amount=amount,
            fee=bodies.price(amount, own) if fee is None else fee,
            currency=own,
            created=charge["created"],
            source=charge["id"],
            rate=bodies.exchange_rate(currency, own),
        )
        self.keep(account, "balance_transactions", movement)
        return charge | {"balance_transaction": movement["id"]}

    def _seed_refund(self, account: str, record: Refund, emit: bool) -> Body:
        known = self.kept(account, "refunds").get(record.id) if record.id else None
        if known is not None:
            changed = self.keep(account, "refunds", known | {"metadata": {**known["metadata"], **record.custom}})
            self.tell(account, "refund.updated", changed, emit=emit)
            return changed
        charge = self.kept(account, "charges").get(record.order_id)
        if charge is None:
            raise refused(404, f"No such charge: '{record.order_id}'", code="resource_missing", param="charge")
        amount = bodies.in_units(record.total, record.currency)
        created = bodies.unix(record.refunded_at)
        return self.give_back(
            account, charge, amount, created=created, id=record.id, reason=_reason(record.reason), emit=emit
        )

    def give_back(
        self, account: str, charge: Body, amount: int, *, created: int, id: str, reason: str | None, emit: bool
    ) -> Body:
        """Refund a part or all of a charge. Stripe keeps its fee."""
        left = charge["amount_captured"] - charge["amount_refunded"]
        if left <= 0:
            message = f"Charge {charge['id']} has already been refunded."
            raise refused(400, message, code="charge_already_refunded")
        if amount > left:
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise refused(400, message, param="amount")
        currency, own = charge["currency"].upper(), self.settlement_currency(account)
        body = bodies.refund(
            id=id or self.new_id("refunds"), charge=charge, amount=amount, created=created, reason=reason
        )
        movement = bodies.movement(
            id=self.new_id("balance_transactions"),
            kind="refund",
            amount=-bodies.settled(amount, currency, own),
            fee=0,
            currency=own,
            created=created,
            source=body["id"],
            rate=bodies.exchange_rate(currency, own),
        )
        self.keep(account, "balance_transactions", movement)
        body = self.keep(account, "refunds", body | {"balance_transaction": movement["id"]})
        refunded = charge["amount_refunded"] + amount
        changed = charge | {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}
        self.keep(account, "charges", changed)
        self.tell(account, "refund.created", body, emit=emit)
        self.tell(account, "charge.refunded", changed, emit=emit)
        return body

    def _seed_movement(self, account: str, record: BalanceTransaction, emit: bool) -> Body:
        """A movement that no charge, refund or payout explains, such as a monthly fee."""
        body = bodies.movement(
            id=record.id or self.new_id("balance_transactions"),
            kind=record.kind,
            amount=bodies.in_units(record.amount, record.currency),
            fee=bodies.in_units(record.fee, record.currency),
            currency=record.currency,
            created=bodies.unix(record.occurred_at),
            source=record.source_id or None,
        )
        return self.keep(account, "balance_transactions", body)

    def _seed_customer(self, account: str, record: Customer, emit: bool) -> Body:
        known = self.kept(account, "customers").get(record.id) if record.id else None
        created = known["created"] if known else self.timestamp()
        body = bodies.customer(record, id=record.id or self.new_id("customers"), created=created)
        if record.tax_number:
            tax_id = {"id": f"txi_{body['id']}", "object": "tax_id", "type": "gb_vat", "value": record.tax_number}
            self.kept(account, "tax_ids").put(body["id"], tax_id | {"customer": body["id"], "created": created})
        else:
            self.kept(account, "tax_ids").delete(body["id"])
        if known is not None:
            body |= {"metadata": known["metadata"] | body["metadata"], "invoice_prefix": known["invoice_prefix"]}
        self.keep(account, "customers", body)
        self.tell(account, "customer.updated" if known else "customer.created", body, emit=emit)
        return body

    def _seed_company(self, account: str, record: Company, emit: bool) -> Body:
        named = {"name": record.name, "base_currency": record.base_currency}
        named |= {name: value for name in ("country", "time_zone") if (value := getattr(record, name))}
        body = bodies.account(self.open_organisation({"id": account, **named}))
        self.tell(account, "account.updated", body, emit=emit)
        return body

    # ------------------------------------------------------------------ payouts

    def _seed_payout(self, account: str, record: Payout, emit: bool) -> Body:
        known = self.kept(account, "payouts").get(record.id) if record.id else None
        if known is not None:
            return self._change_payout(account, known, record, emit)
        created = min(self.timestamp(), bodies.midnight(record.paid_date - dt.timedelta(days=1)))
        body = bodies.payout(record, id=record.id or self.new_id("payouts"), created=created)
        contents = self._explaining(account, record) or self._invented(account, record, created)
        self._pay_out(account, body, contents)
        self.tell(account, "payout.created", body, emit=emit)
        if body["status"] == "paid":
            self.tell(account, "payout.paid", body, emit=emit)
        if body["reconciliation_status"] == "completed":
            self.tell(account, "payout.reconciliation_completed", body, emit=emit)
        return body

    def _pay_out(self, account: str, body: Body, contents: list[Body]) -> None:
        """Take the money off the balance and remember what it was made of."""
        movement = bodies.movement(
            id=self.new_id("balance_transactions"),
            kind="payout",
            amount=-body["amount"],
            fee=0,
            currency=body["currency"],
            created=body["created"],
            source=body["id"],
        )
        body["balance_transaction"] = movement["id"]
        self.keep(account, "balance_transactions", movement)
        self.keep(account, "payouts", body)
        ids = [movement["id"], *(found["id"] for found in contents)]
        self.kept(account, "payout_contents").put(body["id"], {"ids": ids})
        for id in ids:
            self.kept(account, "settled").put(id, {"payout": body["id"]})

    def pay_by_hand(self, account: str, body: Body) -> Body:
        """A manual payout takes a sum and names no movements."""
        manual = body | {"automatic": False, "reconciliation_status": "not_applicable"}
        self._pay_out(account, manual, [])
        self.tell(account, "payout.created", manual, emit=True)
        return manual

    def balances(self, account: str) -> dict[tuple[str, str], int]:
        """Units by status (available, pending) and currency."""
        sums: dict[tuple[str, str], int] = {}
        for body in map(self.shown, self.shelf(account, "balance_transactions").bodies):
            place = (body["status"], body["currency"])
            sums[place] = sums.get(place, 0) + body["net"]
        return sums

    def available(self, account: str, currency: str) -> int:
        """What may be paid out; a payout just made counts at once, although it is still pending."""
        movements = map(self.shown, self.shelf(account, "balance_transactions").bodies)
        own = (body for body in movements if body["currency"] == currency.lower())
        return sum(body["net"] for body in own if body["status"] == "available" or body["net"] < 0)

    def _change_payout(self, account: str, known: Body, record: Payout, emit: bool) -> Body:
        fresh = bodies.payout(record, id=known["id"], created=known["created"])
        names = ("status", "arrival_date", "reconciliation_status", "trace_id")
        body = self.keep(account, "payouts", known | {name: fresh[name] for name in names})
        types = {"paid": "payout.paid", "failed": "payout.failed", "canceled": "payout.canceled"}
        self.tell(account, types.get(body["status"], "payout.updated"), body, emit=emit)
        if known["reconciliation_status"] == "in_progress" and body["reconciliation_status"] == "completed":
            self.tell(account, "payout.reconciliation_completed", body, emit=emit)
        return body

    def unsettled(self, account: str, currency: str) -> list[Body]:
        """Movements no payout has taken yet, oldest first."""
        settled = self.kept(account, "settled")
        return [
            found
            for found in reversed(self.shelf(account, "balance_transactions").bodies)
            if found["id"] not in settled and found["currency"] == currency.lower() and found["type"] != "payout"
        ]

    def _explaining(self, account: str, record: Payout) -> list[Body]:
        """The oldest unsettled movements that add up to exactly this payout; none when they do not."""
        wanted = tuple(
            bodies.in_units(amount, record.currency)
            for amount in (record.gross, record.fees, record.refunds, record.adjustments)
        )
        sums, taken = (0, 0, 0, 0), []
        for found in self.unsettled(account, record.currency):
            taken.append(found)
            sums = tuple(a + b for a, b in zip(sums, _parts(found), strict=True))  # type: ignore[assignment]
            if sums == wanted:
                return taken
        return []

    def _invented(self, account: str, record: Payout, created: int) -> list[Body]:
        """Movements that explain a payout whose payments were never seeded."""
        wanted = (
            ("charge", record.gross, record.fees),
            ("refund", -record.refunds, Decimal(0)),
            ("adjustment", record.adjustments, Decimal(0)),
        )
        return [
            self.keep(
                account,
                "balance_transactions",
                bodies.movement(
                    id=self.new_id("balance_transactions"),
                    kind=kind,
                    amount=bodies.in_units(amount, record.currency),
                    fee=bodies.in_units(fee, record.currency),
                    currency=record.currency,
                    created=created,
                    source=None,
                ),
            )
            for kind, amount, fee in wanted
            if amount or fee
        ]


def _parts(found: Body) -> tuple[int, int, int, int]:
    """A movement's share of gross, fees, refunds and adjustments."""
    kind, amount, fee = found["type"], found["amount"], found["fee"]
    if kind in SALES:
        return amount, fee, 0, 0
    if kind in REFUNDS:
        return 0, fee, -amount, 0
    if kind in FEES:
        return 0, fee - amount, 0, 0
    return 0, fee, 0, amount


def _reason(words: str) -> str | None:
    """Stripe knows three reasons; anything else is left out."""
    reason = words.strip().lower().replace(" ", "_")
    return reason if reason in ("duplicate", "fraudulent", "requested_by_customer") else None
