"""The contract, and what is peculiar to Xero."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from connectors.providers.xero import reading
from connectors.providers.xero.client import XeroClient
from connectors.providers.xero.refusals import refusal
from connectors.providers.xero.simulator import KESTREL_EUROPE
from connectors.providers.xero.streams import BankTransfers
from connectors.providers.xero.values import country_code, country_name, moment
from connectors.providers.xero.webhooks import WEBHOOKS
from connectors.sdk.client import Access, FixedToken, parse_json
from connectors.sdk.errors import ConfigurationError, RateLimited, ReconnectRequired, RecordRejected
from connectors.sdk.records import (
    Address,
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    Party,
)
from connectors.sdk.streams import Draft, Outcome, Written
from connectors.testing.contract import Bench, ConnectorContract

FIXTURES = Path(__file__).parent / "fixtures"
TODAY = dt.date(2026, 4, 24)


def fixture(name: str, key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parse_json((FIXTURES / f"{name}.json").read_bytes())[key]
    return rows


def invoice_draft(position: int = 1, **changes: Any) -> Draft:
    line = DocumentLine(description="Bell", amount=Decimal("10.00"), ledger_account="200", tax_rate="ZERORATEDOUTPUT")
    values: dict[str, Any] = {
        "id": "",
        "reference": f"#{1000 + position}",
        "date": TODAY,
        "currency": "GBP",
        "customer": Party(name="Alice Archer"),
        "lines": (line,),
        "total": Decimal("10.00"),
    }
    document = Invoice(**{**values, **changes})
    return Draft(key=f"posting-{position}", reference=document.reference, document=document)


def payment_draft(invoice: Written, amount: str, number: int = 1, **changes: Any) -> Draft:
    values: dict[str, Any] = {
        "id": "",
        "date": TODAY,
        "currency": "GBP",
        "amount": Decimal(amount),
        "ledger_account": "092",
        "document_id": invoice.external_id,
    }
    document = CustomerPayment(**{**values, **changes})
    return Draft(key=f"payment-{number}", reference="#1001", document=document)


def create(bench: Bench, *drafts: Draft) -> list[Outcome]:
    stream = bench.writable(drafts[0].document.data_type)
    return stream.create(bench.client, drafts, key=f"batch-{bench.simulator.next_id('batch')}")


def created(bench: Bench, draft: Draft) -> Written:
    (outcome,) = create(bench, draft)
    assert isinstance(outcome, Written), outcome
    return outcome


def refused(bench: Bench, draft: Draft) -> RecordRejected:
    (outcome,) = create(bench, draft)
    assert isinstance(outcome, RecordRejected), outcome
    return outcome


def held(bench: Bench, data_type: str, id: str) -> Any:
    (found,) = bench.stream(data_type).fetch(bench.client, [id]).records
    return found.record


class TestXero(ConnectorContract):
    slug: ClassVar[str] = "xero"
    unpaged: ClassVar[frozenset[str]] = frozenset({"ledger_account", "bank_transfer"})

    # ------------------------------------------------------------------ documents

    def test_an_amount_that_does_not_divide_keeps_its_total(self, bench: Bench) -> None:
        lines = (
            DocumentLine(description="Screws", quantity=Decimal(3), amount=Decimal("10.00"), ledger_account="200"),
            DocumentLine(description="Nails", quantity=Decimal(7000), amount=Decimal("1.00"), ledger_account="200"),
        )
        written = created(bench, invoice_draft(lines=lines, total=Decimal("11.00")))
        assert written.total == Decimal("11.00")
        screws, nails = held(bench, "invoice", written.external_id).lines
        assert (screws.quantity, screws.amount) == (Decimal(3), Decimal("10.00"))
        assert (nails.quantity, nails.amount) == (Decimal(1), Decimal("1.00"))
        assert nails.description == "Nails (quantity 7000)"

    def test_tax_is_written_as_it_was_charged(self, bench: Bench) -> None:
        """The source rounded per document, so its tax is a cent off what Xero would calculate."""
        line = DocumentLine(
            description="Lamp",
            amount=Decimal("9.99"),
            ledger_account="200",
            tax_rate="OUTPUT2",
            tax_amount=Decimal("1.66"),
        )
        draft = invoice_draft(tax_mode="inclusive", lines=(line,), total=Decimal("9.99"))
        written = created(bench, draft)
        record = held(bench, "invoice", written.external_id)
        assert (record.total, record.tax_total) == (Decimal("9.99"), Decimal("1.66"))

    def test_a_memo_becomes_a_line_of_text(self, bench: Bench) -> None:
        written = created(bench, invoice_draft(memo="Leave it with the neighbour"))
        record = held(bench, "invoice", written.external_id)
        assert record.memo == "Leave it with the neighbour"
        assert [line.description for line in record.lines] == ["Bell"]

    def test_a_draft_is_deleted_and_an_approved_invoice_voided(self, bench: Bench) -> None:
        stream = bench.writable("invoice")
        plain = invoice_draft(2)
        as_draft = Draft(key="d", reference="#d", document=plain.document, as_draft=True)
        ids = [created(bench, as_draft).external_id, created(bench, plain).external_id]
        assert [held(bench, "invoice", id).status for id in ids] == ["draft", "open"]
        outcomes = stream.void(bench.client, ids)
        assert [found.raw["Status"] for found in outcomes if isinstance(found, Written)] == [
            "DELETED",
            "VOIDED",
        ]
        assert all(isinstance(found, Written) for found in stream.void(bench.client, ids)), "again is fine"

    def test_an_invoice_with_a_payment_cannot_be_voided(self, bench: Bench) -> None:
        invoice = created(bench, invoice_draft())
        payment = created(bench, payment_draft(invoice, "4.00"))
        (outcome,) = bench.writable("invoice").void(bench.client, [invoice.external_id])
        assert isinstance(outcome, RecordRejected)
        assert "payment" in outcome.user_message
        bench.writable("customer_payment").void(bench.client, [payment.external_id])
        (outcome,) = bench.writable("invoice").void(bench.client, [invoice.external_id])
        assert isinstance(outcome, Written)

    def test_voiding_what_is_gone_says_so(self, bench: Bench) -> None:
        outcomes = bench.writable("invoice").void(bench.client, ["00000000-0000-4000-8000-000000000000"])
        assert [found.code for found in outcomes if isinstance(found, RecordRejected)] == ["missing_reference"]

    def test_a_number_is_given_once(self, bench: Bench) -> None:
        created(bench, invoice_draft(1, number="SHOP-1"))
        assert refused(bench, invoice_draft(2, number="SHOP-1")).code == "duplicate"

    def test_a_currency_has_to_be_added_first(self, bench: Bench) -> None:
        created(bench, invoice_draft(1, currency="EUR"))
        refusal = refused(bench, invoice_draft(2, currency="USD"))
        assert refusal.code == "missing_reference"
        assert "USD" in refusal.user_message

    def test_a_stale_version_is_not_overwritten(self, bench: Bench) -> None:
        written = created(bench, invoice_draft())
        staff = held(bench, "invoice", written.external_id)
        bench.pass_time(5)
        bench.simulator.plant(bench.organisation, [staff])
        stream = bench.writable("invoice")
        outcome = stream.update(bench.client, written.external_id, invoice_draft(), version=written.version)
        assert isinstance(outcome, RecordRejected) and outcome.code == "stale"

    def test_the_contact_of_a_name_is_used_again(self, bench: Bench) -> None:
        first, second = create(bench, invoice_draft(1), invoice_draft(2, customer=Party(name="alice archer")))
        assert isinstance(first, Written) and isinstance(second, Written)
        parties = {held(bench, "invoice", found.external_id).customer for found in (first, second)}
        assert {party.name for party in parties} == {"Alice Archer"}
        assert len({party.id for party in parties}) == 1

    def test_a_customer_is_never_entered_twice(self, bench: Bench) -> None:
        record = Customer(id="", name="Bob Baker", email="bob@example.com", address=Address(city="Cork", country="IE"))
        first = created(bench, Draft(key="c1", reference="shop-1", document=record))
        second = created(bench, Draft(key="c2", reference="", document=record))
        assert first.external_id == second.external_id
        assert held(bench, "customer", first.external_id).address == Address(city="Cork", country="IE")

    # ------------------------------------------------------------------ payments

    def test_paying_more_than_is_due_is_refused(self, bench: Bench) -> None:
        invoice = created(bench, invoice_draft())
        created(bench, payment_draft(invoice, "9.99"))
        assert refused(bench, payment_draft(invoice, "0.02")).code == "amount"
        created(bench, payment_draft(invoice, "0.01"))
        assert held(bench, "invoice", invoice.external_id).status == "paid"

    def test_payments_with_one_reference_are_told_apart(self, bench: Bench) -> None:
        invoice = created(bench, invoice_draft())
        deposit, rest = payment_draft(invoice, "4.00", 1), payment_draft(invoice, "6.00", 2)
        written = created(bench, deposit)
        found = bench.writable("customer_payment").find(bench.client, [deposit, rest])
        assert {key: one.external_id for key, one in found.items()} == {deposit.key: written.external_id}

    def test_a_credit_note_is_paid_back(self, bench: Bench) -> None:
        line = DocumentLine(description="Bell", amount=Decimal("10.00"), ledger_account="200")
        note = CreditNote(
            id="",
            reference="#R1",
            date=TODAY,
            currency="GBP",
            customer=Party(name="Alice Archer"),
            lines=(line,),
            total=Decimal("10.00"),
        )
        written = created(bench, Draft(key="n", reference="#R1", document=note))
        payment = created(bench, payment_draft(written, "10.00", settles="credit_note"))
        record = held(bench, "customer_payment", payment.external_id)
        assert (record.settles, record.document_id) == ("credit_note", written.external_id)
        assert held(bench, "credit_note", written.external_id).status == "paid"

    def test_what_is_void_does_not_count_as_written(self, bench: Bench) -> None:
        stream, draft = bench.writable("invoice"), invoice_draft()
        written = created(bench, draft)
        assert set(stream.find(bench.client, [draft])) == {draft.key}
        stream.void(bench.client, [written.external_id])
        assert stream.find(bench.client, [draft]) == {}

    @pytest.mark.parametrize("data_type", ["customer_payment", "bank_transfer"])
    def test_what_xero_cannot_change_is_refused(self, bench: Bench, data_type: str) -> None:
        outcome = bench.writable(data_type).update(bench.client, "x", invoice_draft(), version="")
        assert isinstance(outcome, RecordRejected)

    def test_an_account_without_a_code_goes_by_its_id(self, bench: Bench) -> None:
        (petty_cash,) = [
            found.record for found in bench.read("ledger_account") if getattr(found.record, "name", "") == "Petty Cash"
        ]
        transfer = BankTransfer(
            id="",
            date=TODAY,
            currency="GBP",
            amount=Decimal("20.00"),
            from_ledger_account="090",
            to_ledger_account=petty_cash.id,
        )
        written = created(bench, Draft(key="t", reference="float", document=transfer))
        record = held(bench, "bank_transfer", written.external_id)
        assert (record.from_ledger_account, record.to_ledger_account) == ("090", petty_cash.id)

    def test_an_expense_with_tax_splits_it_off(self, bench: Bench) -> None:
        spent = Expense(
            id="",
            date=TODAY,
            currency="GBP",
            amount=Decimal("36.12"),
            paid_from_ledger_account="093",
            ledger_account="405",
            supplier=Party(name="Card Processor"),
            tax_rate="INPUT2",
        )
        written = created(bench, Draft(key="e", reference="fees", document=spent))
        assert (written.total, written.raw["TotalTax"]) == (Decimal("36.12"), Decimal("6.02"))

    # ------------------------------------------------------------------ errors

    def test_a_missing_scope_asks_for_more_consent(self, bench: Bench) -> None:
        with bench.simulator.lock:
            _, answer = bench.simulator.oauth.grant_for(
                bench.organisation, ("offline_access", "accounting.contacts.read"), "Bob"
            )
        client = self.client_with(bench, answer["access_token"])
        assert bench.stream("customer").fetch(client, []).records == ()
        list(bench.stream("customer").pages(client, None))
        with pytest.raises(ConfigurationError):
            list(bench.stream("invoice").pages(client, None))

    def test_an_organisation_that_left_asks_for_reconnecting(self, bench: Bench) -> None:
        client = self.client_with(bench, bench.token.current(), organisation=KESTREL_EUROPE)
        with pytest.raises(ReconnectRequired):
            list(bench.stream("invoice").pages(client, None))

    def test_a_day_used_up_is_said(self, bench: Bench) -> None:
        headers = {"Retry-After": "3600", "X-Rate-Limit-Problem": "day"}
        refused = bench.client.read_error(httpx.Response(429, headers=headers))
        assert isinstance(refused, RateLimited)
        assert refused.retry_after == 3600
        assert "daily" in refused.user_message

    def test_a_supplier_bill_is_not_an_invoice_of_ours(self, bench: Bench) -> None:
        """Its webhooks have the category INVOICE too."""
        bill = {
            "Type": "ACCPAY",
            "InvoiceNumber": "B-1",
            "Contact": {"Name": "Card Processor"},
            "DueDate": "2026-05-24",
            "LineItems": [{"Description": "Fees", "UnitAmount": 5, "AccountCode": "405"}],
        }
        client = self.client_with(bench, bench.token.current())
        answer = client.send("PUT", "/Invoices", {"Invoices": [bill]}, {}, key="")
        assert bench.stream("invoice").fetch(client, [answer["Invoices"][0]["InvoiceID"]]).records == ()
        assert bench.read("invoice") == []

    def client_with(self, bench: Bench, token: str, organisation: str = "") -> XeroClient:
        access = Access(
            token=FixedToken(token),
            organisation_id=organisation or bench.organisation,
            simulator="http://simulator.test",
        )
        return XeroClient(access, bench.http)


def test_messages_become_codes() -> None:
    said = {
        "The document date cannot be before the end of year lock date.": "closed_period",
        "Account code '200' has been archived.": "archived_account",
        "Account code '999' is not a valid code for this document.": "missing_reference",
        "The TaxType code 'X' does not exist or cannot be used.": "missing_reference",
        "Invoice # must be unique.": "duplicate",
        "Organisation is not subscribed to currency USD": "missing_reference",
        "Payment amount exceeds the amount outstanding on this document": "amount",
        "Something nobody has seen before": "other",
    }
    assert {text: refusal([text]).code for text in said} == said


def test_a_validation_error_says_every_reason() -> None:
    (element,) = fixture("error_validation", "Elements")
    messages = [error["Message"] for error in element["ValidationErrors"]]
    rejected = refusal(messages)
    assert rejected.code == "closed_period"
    assert "'999' is not a valid code" in rejected.user_message


def test_moments_are_utc_whatever_offset_is_shown() -> None:
    assert moment("/Date(1777031976473+1300)/") == dt.datetime(2026, 4, 24, 11, 59, 36, 473000, dt.UTC)
    assert moment("2026-04-24T11:59:36.473") == dt.datetime(2026, 4, 24, 11, 59, 36, 473000, dt.UTC)
    assert moment("") is None
    with pytest.raises(ValueError):
        moment("yesterday")


def test_countries_are_words_at_xero() -> None:
    assert (country_name("GB"), country_code("United Kingdom"), country_code("ie")) == (
        "United Kingdom",
        "GB",
        "IE",
    )
    assert country_code("Narnia") == ""


def test_the_later_lock_date_closes_the_books() -> None:
    (row,) = fixture("company", "Organisations")
    record = reading.company(row)
    assert record.books_closed_until == dt.date(2026, 2, 28)
    assert (record.base_currency, record.country, record.time_zone) == ("GBP", "GB", "Europe/London")


def test_ledger_accounts_say_their_kind_and_state() -> None:
    records = [reading.ledger_account(row) for row in fixture("ledger_account", "Accounts")]
    assert [(found.kind, found.is_archived, found.can_receive_payments) for found in records] == [
        ("bank", False, True),
        ("income", False, False),
        ("receivable", False, False),
        ("income", True, True),
    ]
    assert records[0].code == records[0].id, "a bank account without a code"


def test_a_tax_rate_of_two_parts_counts_as_one() -> None:
    records = [reading.tax_rate(row) for row in fixture("tax_rate", "TaxRates")]
    assert [(found.code, found.rate, found.is_archived) for found in records] == [
        ("OUTPUT2", Decimal("0.2"), False),
        ("TAX001", Decimal("0.08875"), True),
    ]


def test_contacts_are_read_with_address_and_phone() -> None:
    customer, archived = (reading.customer(row) for row in fixture("customer", "Contacts"))
    assert customer.phone == "44 161 555 1212"
    assert customer.address == Address(
        line1="12 Canal Street", line2="Flat 3", city="Manchester", postal_code="M1 3HE", country="GB"
    )
    assert archived.is_archived


def test_an_invoice_is_read_exactly() -> None:
    paid_in_part, voided = (reading.invoice(row) for row in fixture("invoice", "Invoices"))
    assert (paid_in_part.total, paid_in_part.tax_total) == (Decimal("120.10"), Decimal("19.18"))
    assert (paid_in_part.status, paid_in_part.tax_mode, paid_in_part.currency) == ("open", "inclusive", "EUR")
    bell, posting = paid_in_part.lines
    assert (bell.quantity, bell.amount, bell.tax_rate, bell.sku) == (
        Decimal(3),
        Decimal("115.10"),
        "OUTPUT2",
        "BELL",
    )
    assert (posting.tax_rate, posting.ledger_account) == ("", "13918178-849a-4823-9a31-57b7eac713d7")
    assert paid_in_part.memo == "Thank you for riding with us"
    assert (voided.status, voided.total) == ("void", Decimal("0.01"))


def test_payments_of_invoices_and_credit_notes_are_read() -> None:
    payment, repayment = (reading.customer_payment(row) for row in fixture("customer_payment", "Payments"))
    assert (payment.amount, payment.currency, payment.settles) == (Decimal("50.00"), "EUR", "invoice")
    assert (repayment.settles, repayment.document_number, repayment.status) == (
        "credit_note",
        "CN-0007",
        "void",
    )


def test_a_transfer_has_the_currency_of_its_account() -> None:
    (row,) = fixture("bank_transfer", "BankTransfers")
    record = reading.bank_transfer(row, "GBP")
    assert (record.amount, record.currency, record.to_ledger_account) == (Decimal("1203.45"), "GBP", "091")
    with pytest.raises(KeyError):
        BankTransfers().read(row)


def test_a_credit_note_and_an_expense_are_read() -> None:
    (note,) = (reading.credit_note(row) for row in fixture("credit_note", "CreditNotes"))
    assert (note.number, note.total, note.status) == ("CN-0007", Decimal("24.00"), "paid")
    (spent,) = (reading.expense(row) for row in fixture("expense", "BankTransactions"))
    assert (spent.amount, spent.ledger_account, spent.tax_rate) == (Decimal("36.12"), "405", "INPUT2")


def test_events_name_the_records_we_follow() -> None:
    found = {
        name: [
            (event.data_type, event.external_id)
            for event in WEBHOOKS.events({}, (FIXTURES / f"webhook_{name}.json").read_bytes())
        ]
        for name in ("invoice", "contact", "credit_note", "mixed", "intent_to_receive")
    }
    invoice = ("invoice", "243216c5-369e-4056-ac67-05388f86dc81")
    contact = ("customer", "430fa14a-f945-44d3-9f97-5df5e28441b8")
    assert found == {
        "invoice": [invoice],
        "contact": [contact],
        "credit_note": [("credit_note", "7df8949c-b71f-40c0-bbcf-39f2f450f286")],
        "mixed": [invoice, contact],
        "intent_to_receive": [],
    }
