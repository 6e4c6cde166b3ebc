"""The simulated QuickBooks answers as published, and the clients everybody uses work against it unchanged."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError
from jsonschema import Draft202012Validator
from quickbooks.batch import batch_create
from quickbooks.cdc import change_data_capture
from quickbooks.client import QuickBooks
from quickbooks.exceptions import ObjectNotFoundException, QuickbooksException, ValidationException
from quickbooks.objects.account import Account
from quickbooks.objects.base import LinkedTxn, Ref
from quickbooks.objects.company_info import CompanyInfo
from quickbooks.objects.creditmemo import CreditMemo
from quickbooks.objects.customer import Customer
from quickbooks.objects.detailline import SalesItemLine, SalesItemLineDetail
from quickbooks.objects.invoice import Invoice
from quickbooks.objects.item import Item
from quickbooks.objects.payment import Payment, PaymentLine
from quickbooks.objects.preferences import Preferences
from quickbooks.objects.refundreceipt import RefundReceipt
from quickbooks.objects.taxcode import TaxCode
from quickbooks.objects.transfer import Transfer
from werkzeug.serving import make_server

from connectors.providers.quickbooks.reading_documents import credit_memo, invoice, refund_receipt
from connectors.providers.quickbooks.simulator import QuickBooksSimulator
from connectors.sdk.client import parse_json

FOLDER = Path(__file__).parent
SCHEMA = parse_json((FOLDER / "published_schema.json").read_bytes())
HARBOR = "9130350000000001"
KESTREL = "9130350000000002"


def problems(entity: str, row: Any) -> list[str]:
    """Where an object departs from Intuit's published schema."""
    validator = Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{entity}"})
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(row)]


def objects_in(body: Any) -> Iterator[tuple[str, Any]]:
    """Every entity of an answer, however deep it is packed; deleted ones carry an id only."""
    if isinstance(body, list):
        for part in body:
            yield from objects_in(part)
    if isinstance(body, dict):
        for name, value in body.items():
            if name in SCHEMA["$defs"]:
                yield from ((name, row) for row in (value if isinstance(value, list) else [value]))
            else:
                yield from objects_in(value)


@pytest.mark.parametrize("path", sorted((FOLDER / "fixtures").glob("*.json")), ids=lambda path: path.stem)
def test_fixture_follows_the_published_schema(path: Path) -> None:
    found = list(objects_in(parse_json(path.read_bytes())))
    assert found or path.stem.startswith("webhook")
    assert [problem for name, row in found for problem in problems(name, row)] == []


def test_schema_refuses_what_was_never_published() -> None:
    assert problems("Invoice", {"Id": "1", "TotalAmount": 1})
    assert problems("Invoice", {"Id": "1", "TotalAmt": "1.00"})


def test_fixture_documents_read_to_the_cent() -> None:
    (row,) = parse_json((FOLDER / "fixtures/invoice.json").read_bytes())["QueryResponse"]["Invoice"]
    read = invoice(row)
    assert (read.total, read.tax_total, read.status, read.tax_mode) == (
        Decimal("126"),
        Decimal("21"),
        "paid",
        "inclusive",
    )
    assert [(line.amount, line.tax_amount, line.ledger_account) for line in read.lines] == [
        (Decimal("120.00"), Decimal("20.00"), "79"),
        (Decimal("6.00"), Decimal("1.00"), "45"),
    ]
    memos, receipts = parse_json((FOLDER / "fixtures/credit_note.json").read_bytes())["BatchItemResponse"]
    memo = credit_memo(memos["QueryResponse"]["CreditMemo"][0])
    receipt = refund_receipt(receipts["QueryResponse"]["RefundReceipt"][0])
    assert (memo.status, memo.refund_ledger_account) == ("open", "")
    assert (receipt.status, receipt.refund_ledger_account) == ("paid", "38")
    assert memo.lines[0].tax_amount == receipt.lines[0].tax_amount == Decimal("10.00")


# ---------------------------------------------------------------------- the SDKs


@dataclass
class Served:
    simulator: QuickBooksSimulator
    base: str

    def authorised(self, realm: str) -> Any:
        """The whole consent, walked with Intuit's own OAuth client."""
        auth: Any = AuthClient(
            self.simulator.keys.client_id,
            self.simulator.keys.client_secret,
            "https://tieout.example/callback",
            f"{self.base}/.well-known/openid_sandbox_configuration/",
        )
        # The client takes every address but this one from the discovery document.
        auth.auth_endpoint = f"{self.base}/connect/oauth2"
        address = auth.get_authorization_url([Scopes.ACCOUNTING], state_token="state-1")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        back = httpx.post(f"{self.base}/connect/oauth2", data=asked | {"organisation": realm, "decision": "allow"})
        params = parse_qs(urlsplit(back.headers["location"]).query)
        auth.get_bearer_token(params["code"][0], realm_id=params["realmId"][0])
        return auth

    def sdk(self, realm: str) -> Any:
        client: Any = QuickBooks(
            auth_client=self.authorised(realm), company_id=realm, minorversion=75, use_decimal=True
        )
        client.sandbox_api_url_v3 = client.api_url_v3 = f"{self.base}/v3"
        return client


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    simulator = QuickBooksSimulator()
    simulator.limits = ()
    server = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Served(simulator, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()
    simulator.close()


def refer(value: str) -> Any:
    found: Any = Ref()
    found.value = value
    return found


def sales_line(amount: str, *, code: str = "", item: str = "1") -> Any:
    line: Any = SalesItemLine()
    line.Amount = Decimal(amount)
    line.SalesItemLineDetail = SalesItemLineDetail()
    line.SalesItemLineDetail.ItemRef = refer(item)
    if code:
        line.SalesItemLineDetail.TaxCodeRef = refer(code)
    return line


def new_customer(client: Any, name: str) -> Any:
    customer: Any = Customer()
    customer.DisplayName = name
    return customer.save(qb=client)


def new_invoice(customer: Any, *lines: Any) -> Any:
    made: Any = Invoice()
    made.CustomerRef = refer(customer.Id)
    made.Line = list(lines)
    return made


def test_intuit_oauth_connects_refreshes_and_revokes(served: Served) -> None:
    auth = served.authorised(KESTREL)
    assert (auth.realm_id, auth.expires_in) == (KESTREL, 3600)
    before = auth.refresh_token
    auth.refresh()
    assert auth.refresh_token == before, "within a day the refresh token keeps its value"
    with served.simulator.lock:
        served.simulator.advance(25 * 3600)
    auth.refresh()
    assert auth.refresh_token != before
    assert auth.revoke()
    with pytest.raises(AuthClientError):
        auth.refresh()


def test_sdk_reads_the_company_and_its_lists(served: Served) -> None:
    client = served.sdk(KESTREL)
    assert CompanyInfo.get(1, qb=client).CompanyName == "Kestrel Trading Ltd"
    assert Preferences.get(qb=client).CurrencyPrefs.HomeCurrency.value == "GBP"
    banks = Account.filter(AccountType="Bank", qb=client)
    assert {bank.Name for bank in banks} >= {"Checking", "Shopify clearing", "Stripe clearing"}
    assert Account.count("AccountType = 'Bank'", qb=client) == len(banks)
    assert {code.Name for code in TaxCode.all(qb=client)} >= {"20.0% S", "5.0% R", "0.0% Z", "No VAT"}
    assert [item.Name for item in Item.all(qb=client)] == ["Services"]
    page = Account.where("Active = true", order_by="Name DESC", start_position=2, max_results=3, qb=client)
    names = [found.Name for found in page]
    assert names == sorted(names, key=str.casefold, reverse=True) and len(names) == 3


def test_sdk_writes_an_invoice_and_its_payment(served: Served) -> None:
    client = served.sdk(KESTREL)
    customer = new_customer(client, "Ada Byron")
    saved = new_invoice(customer, sales_line("100.10", code="2"), sales_line("9.90", code="4")).save(qb=client)
    assert (saved.TotalAmt, saved.TxnTaxDetail.TotalTax, saved.Balance) == (
        Decimal("130.02"),
        Decimal("20.02"),
        Decimal("130.02"),
    )
    payment: Any = Payment()
    payment.CustomerRef = refer(customer.Id)
    payment.TotalAmt = saved.TotalAmt
    line: Any = PaymentLine()
    line.Amount = saved.TotalAmt
    link: Any = LinkedTxn()
    link.TxnId, link.TxnType = saved.Id, "Invoice"
    line.LinkedTxn = [link]
    payment.Line = [line]
    made = payment.save(qb=client)
    assert Invoice.get(saved.Id, qb=client).Balance == 0
    Payment.get(made.Id, qb=client).void(qb=client)
    assert Invoice.get(saved.Id, qb=client).Balance == saved.TotalAmt
    assert Payment.get(made.Id, qb=client).TotalAmt == 0


def test_sdk_meets_stale_tokens_duplicates_and_unknown_ids(served: Served) -> None:
    client = served.sdk(KESTREL)
    customer = new_customer(client, "Ada Byron")
    with pytest.raises(QuickbooksException) as duplicate:
        new_customer(client, "ada byron")
    assert duplicate.value.error_code == 6240
    fresh = Customer.get(customer.Id, qb=client)
    fresh.Notes = "first"
    fresh.save(qb=client)
    stale = Customer.get(customer.Id, qb=client)
    stale.SyncToken, stale.Notes = "0", "second"
    with pytest.raises(QuickbooksException) as caught:
        stale.save(qb=client)
    assert caught.value.error_code == 5010
    with pytest.raises(ObjectNotFoundException):
        Invoice.get("987654", qb=client)
    with pytest.raises(ValidationException):
        Customer.query("select from Customer", qb=client)


def test_sdk_batches_report_each_element(served: Served) -> None:
    client = served.sdk(KESTREL)
    names = ["Ada", "Grace", "ada", "Mary"]
    customers = []
    for name in names:
        customer: Any = Customer()
        customer.DisplayName = name
        customers.append(customer)
    answer = batch_create(customers, qb=client)
    assert [found.DisplayName for found in answer.successes] == ["Ada", "Grace", "Mary"]
    assert [fault.Error[0].code for fault in answer.faults] == ["6240"]


def test_sdk_sees_changes_voids_and_deletions(served: Served) -> None:
    client = served.sdk(KESTREL)
    customer = new_customer(client, "Ada Byron")
    first = new_invoice(customer, sales_line("10.00", code="10")).save(qb=client)
    second = new_invoice(customer, sales_line("20.00", code="10")).save(qb=client)
    first.void(qb=client)
    second.delete(qb=client)
    voided = Invoice.get(first.Id, qb=client)
    assert (voided.TotalAmt, voided.Balance, voided.PrivateNote) == (0, 0, "Voided")
    since = served.simulator.now() - dt.timedelta(hours=1)
    changes = change_data_capture([Invoice], since.isoformat(timespec="seconds"), qb=client)
    assert [(row.Id, getattr(row, "status", "")) for row in changes.Invoice if row.Id == second.Id] == [
        (second.Id, "Deleted")
    ]


def test_sdk_repeats_a_request_id_without_a_second_document(served: Served) -> None:
    client = served.sdk(KESTREL)
    customer = new_customer(client, "Ada Byron")
    ids = {
        new_invoice(customer, sales_line("10.00", code="10")).save(qb=client, request_id="once-only").Id
        for _ in range(2)
    }
    assert len(ids) == 1
    assert Invoice.count(qb=client) == 1


def test_sdk_company_in_the_united_states_works_tax_out_itself(served: Served) -> None:
    client = served.sdk(HARBOR)
    customer = new_customer(client, "Ada Byron")
    own = new_invoice(customer, sales_line("100.00", code="TAX"), sales_line("50.00", code="NON")).save(qb=client)
    assert (own.TxnTaxDetail.TotalTax, own.TotalAmt) == (Decimal("7.25"), Decimal("157.25"))


def test_every_object_the_simulator_answers_follows_the_published_schema(served: Served) -> None:
    client = served.sdk(KESTREL)
    customer = new_customer(client, "Ada Byron")
    taxed = [sales_line("100.00", code="2")]
    new_invoice(customer, *taxed).save(qb=client).void(qb=client)
    kept = new_invoice(customer, *taxed).save(qb=client)
    for kind in (CreditMemo, RefundReceipt):
        document: Any = kind()
        document.CustomerRef, document.Line = refer(customer.Id), taxed
        if kind is RefundReceipt:
            document.DepositToAccountRef = refer("35")
        document.save(qb=client)
    moved: Any = Transfer()
    moved.Amount, moved.FromAccountRef, moved.ToAccountRef = Decimal("5.00"), refer("38"), refer("35")
    moved.save(qb=client)
    assert kept.Id
    answers = [
        client.query(f"select * from {name} maxresults 1000")
        for name in (
            *("Invoice", "CreditMemo", "RefundReceipt", "Payment", "Transfer", "Purchase", "Customer", "Vendor"),
            *("Account", "Item", "TaxCode", "TaxRate", "CompanyInfo", "Preferences"),
        )
    ]
    report = client.get_report("TrialBalance", {"start_date": "2026-01-01", "end_date": "2026-12-31"})
    assert problems("Report", report) == []
    found = [pair for answer in answers for pair in objects_in(answer)]
    assert {name for name, _ in found} >= {"Invoice", "CreditMemo", "RefundReceipt", "Transfer", "Account", "TaxCode"}
    assert [problem for name, row in found for problem in problems(name, row)] == []
