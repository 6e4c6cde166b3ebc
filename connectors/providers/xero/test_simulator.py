"""The simulator is as strict as Xero: published shapes, limits, idempotency, locks; and Xero's own SDK works with it."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from werkzeug.serving import make_server
from xero_python.accounting.api.accounting_api import AccountingApi
from xero_python.accounting.models.account import Account
from xero_python.accounting.models.contact import Contact
from xero_python.accounting.models.contacts import Contacts
from xero_python.accounting.models.invoice import Invoice
from xero_python.accounting.models.invoices import Invoices
from xero_python.accounting.models.line_item import LineItem
from xero_python.accounting.models.payment import Payment
from xero_python.accounting.models.payments import Payments
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token, TokenApi
from xero_python.exceptions import AccountingBadRequestException
from xero_python.identity.api.identity_api import IdentityApi

from connectors.providers.xero.manifest import MANIFEST
from connectors.providers.xero.simulator import API, KESTREL, KESTREL_EUROPE, XeroSimulator
from connectors.providers.xero.simulator_filters import QueryParseError, Where
from connectors.providers.xero.webhooks import WEBHOOKS
from connectors.sdk.records import Customer
from connectors.testing import Store
from connectors.testing.contract import Parts
from connectors.testing.contract.bench import Bench
from connectors.testing.contract.samples import Books, sample

SCHEMA = json.loads((Path(__file__).parent / "simulator_schema.json").read_text(encoding="utf-8"))
SCOPES = tuple(scope.name for scope in MANIFEST.auth.scopes)
LINE = {"Description": "Bell", "Quantity": 1, "UnitAmount": 10, "AccountCode": "200", "TaxType": "OUTPUT2"}


class Caller:
    """Plain HTTP to a simulator, as Alice."""

    def __init__(self, simulator: XeroSimulator, organisation: str = KESTREL) -> None:
        self.simulator = simulator
        self.http = httpx.Client(transport=httpx.WSGITransport(simulator), base_url="http://simulator.test")
        _, answer = simulator.oauth.grant_for(organisation, SCOPES, "alice")
        self.headers = {
            "Authorization": f"Bearer {answer['access_token']}",
            "xero-tenant-id": organisation,
            "Accept": "application/json",
        }

    def get(self, path: str, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return self.http.get(API + path, params=params, headers={**self.headers, **(headers or {})})

    def put(self, path: str, body: Any, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return self.http.put(API + path, json=body, params=params, headers={**self.headers, **(headers or {})})

    def post(self, path: str, body: Any, **params: Any) -> httpx.Response:
        return self.http.post(API + path, json=body, params=params, headers=self.headers)


@pytest.fixture
def simulator() -> Iterator[XeroSimulator]:
    simulator = XeroSimulator()
    yield simulator
    simulator.close()


@pytest.fixture
def caller(simulator: XeroSimulator) -> Caller:
    return Caller(simulator)


def invoice(**changes: Any) -> dict[str, Any]:
    return {
        "Type": "ACCREC",
        "Contact": {"Name": "Alice Archer"},
        "Date": "2026-04-24",
        "DueDate": "2026-05-24",
        "LineItems": [LINE],
        "Status": "AUTHORISED",
        **changes,
    }


def conforms(kind: str, body: Any) -> list[str]:
    """How an answer differs from what Xero publishes."""
    validator = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]


# ---------------------------------------------------------------------- shapes


def test_every_answer_conforms_to_the_published_shapes() -> None:
    bench = Bench(Parts.of("connectors.providers.xero"), organisation="", settings={}, page_size=None)
    books = Books.of(bench, sales_tax="")
    for data_type in ("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense"):
        records = [sample(bench, books, data_type, position) for position in range(4)]
        bench.simulator.plant(bench.organisation, records)
    bench.wire.requests.clear()
    answers = {
        "Organisations": "/Organisation",
        "Accounts": "/Accounts",
        "TaxRates": "/TaxRates",
        "Contacts": "/Contacts?page=1",
        "Invoices": "/Invoices?page=1",
        "CreditNotes": "/CreditNotes?page=1",
        "Payments": "/Payments?page=1",
        "BankTransactions": "/BankTransactions?page=1",
        "BankTransfers": "/BankTransfers",
        "Reports": "/Reports/TrialBalance",
    }
    for kind, path in answers.items():
        response = bench.http.get(
            f"http://simulator.test{API}{path}",
            headers={"Authorization": f"Bearer {bench.token.current()}", "xero-tenant-id": bench.organisation},
        )
        assert len(response.json()[kind]) >= 1
        assert conforms(kind, response.json()) == []
    bench.close()


def test_written_documents_and_refusals_conform(caller: Caller) -> None:
    bad = invoice(LineItems=[{**LINE, "AccountCode": "999"}])
    each = caller.put("/Invoices", {"Invoices": [invoice(), bad]}, summarizeErrors="false")
    assert each.status_code == 200
    assert conforms("Invoices", each.json()) == []
    assert [row["StatusAttributeString"] for row in each.json()["Invoices"]] == ["OK", "ERROR"]
    whole = caller.put("/Invoices", {"Invoices": [invoice(), bad]})
    assert whole.status_code == 400
    assert conforms("Error", whole.json()) == []
    made = [line for line in caller.simulator.ledger.after(0) if line["action"] == "create"]
    assert len(made) == 1, "without asking for each, one bad element keeps all out"


def test_deliveries_conform_and_are_signed(simulator: XeroSimulator) -> None:
    records = [Customer(id="", name=f"Customer {position}") for position in range(3)]
    simulator.plant(KESTREL, records, emit=True)
    (entry,) = simulator.outbox.deliveries()
    assert conforms("WebhookEvent", json.loads(entry["body"])) == []
    assert len(WEBHOOKS.events({}, entry["body"].encode())) == 3, "one delivery tells all changes of a call"


# ---------------------------------------------------------------------- arithmetic and checks


def test_tax_is_rounded_line_by_line(caller: Caller) -> None:
    lines = [{**LINE, "UnitAmount": 0.33, "Description": f"Part {n}"} for n in range(3)]
    (row,) = caller.put("/Invoices", invoice(LineItems=lines)).json()["Invoices"]
    assert (row["SubTotal"], row["TotalTax"], row["Total"]) == (0.99, 0.21, 1.2)
    inclusive = invoice(LineItems=[{**LINE, "UnitAmount": 9.99}], LineAmountTypes="Inclusive")
    (row,) = caller.put("/Invoices", inclusive).json()["Invoices"]
    assert (row["SubTotal"], row["TotalTax"], row["Total"]) == (8.32, 1.67, 9.99)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Contact": {}}, "A Contact must be specified"),
        ({"LineItems": []}, "line items must be specified"),
        ({"LineItems": [{**LINE, "LineAmount": 9}]}, "does not match the expected line total"),
        ({"LineItems": [{**LINE, "AccountCode": "090"}]}, "not a valid code"),
        ({"LineItems": [{**LINE, "AccountCode": "610"}]}, "not a valid code"),
        ({"LineItems": [{**LINE, "TaxType": "OUTPUT9"}]}, "TaxType code 'OUTPUT9'"),
        ({"LineItems": [{**LINE, "UnitAmount": -1}]}, "cannot be negative"),
        ({"Total": 99}, "does not equal the sum of its lines"),
        ({"CurrencyCode": "USD"}, "not subscribed to currency USD"),
        ({"DueDate": None}, "due date"),
        ({"Type": "PAYROLL"}, "not valid for this endpoint"),
        ({"Contact": {"ContactID": "00000000-0000-4000-8000-000000000000"}}, "contact could not be found"),
        ({"Date": "2025-12-31"}, "period lock date"),
    ],
)
def test_what_xero_refuses_is_refused(caller: Caller, changes: dict[str, Any], message: str) -> None:
    caller.simulator.open_organisation({"id": KESTREL, "books_closed_until": "2025-12-31"})
    response = caller.put("/Invoices", invoice(**changes))
    assert response.status_code == 400
    (element,) = response.json()["Elements"]
    assert message in " ".join(error["Message"] for error in element["ValidationErrors"])
    assert caller.simulator.ledger.after(0) == []


def test_a_foreign_invoice_paid_into_a_pound_account_arrives_in_pounds(caller: Caller) -> None:
    (row,) = caller.put("/Invoices", invoice(CurrencyCode="EUR", CurrencyRate=1.15)).json()["Invoices"]
    payment = {"Invoice": {"InvoiceID": row["InvoiceID"]}, "Account": {"Code": "090"}, "Amount": 11.5}
    (paid,) = caller.put("/Payments", {"Payments": [payment | {"Date": "2026-04-25"}]}).json()["Payments"]
    assert (paid["Amount"], paid["BankAmount"]) == (11.5, 10)
    wrong = payment | {"Account": {"Code": "095"}, "Amount": 0.5}
    assert caller.put("/Payments", wrong).status_code == 200, "the euro account fits a euro invoice"


def test_a_credit_note_is_allocated_to_an_invoice(caller: Caller) -> None:
    (bill,) = caller.put("/Invoices", invoice()).json()["Invoices"]
    note = invoice(Type="ACCRECCREDIT")
    (credit,) = caller.put("/CreditNotes", note).json()["CreditNotes"]
    allocation = {"Invoice": {"InvoiceID": bill["InvoiceID"]}, "Amount": 12, "Date": "2026-04-25"}
    path = f"/CreditNotes/{credit['CreditNoteID']}/Allocations"
    assert caller.put(path, {"Allocations": [allocation]}).status_code == 200
    (after,) = caller.get(f"/Invoices/{bill['InvoiceID']}").json()["Invoices"]
    assert (after["AmountDue"], after["AmountCredited"], after["Status"]) == (0, 12, "PAID")


def test_every_country_gets_a_chart_to_map_to(simulator: XeroSimulator) -> None:
    simulator.open_organisation(
        {"id": "us", "name": "Kestrel Inc", "base_currency": "USD", "country": "US", "time_zone": "UTC"}
    )
    for organisation, tax in ((KESTREL, 20), (KESTREL_EUROPE, 23), ("us", Decimal("8.25"))):
        caller = Caller(simulator, organisation)
        accounts = caller.get("/Accounts").json()["Accounts"]
        names = {account["Name"] for account in accounts}
        assert {"Sales", "Shipping Income", "Discounts Given", "Gift Card Liability", "Rounding"} <= names
        assert {"Accounts Receivable", "Payment Processing Fees", "Card Payments Clearing"} <= names
        rates = caller.get("/TaxRates").json()["TaxRates"]
        assert float(tax) in {rate["EffectiveRate"] for rate in rates}
        assert {account["TaxType"] for account in accounts} <= {rate["TaxType"] for rate in rates}


# ---------------------------------------------------------------------- limits and repeats


def test_the_sixty_first_call_of_a_minute_waits(caller: Caller) -> None:
    answers = [caller.get("/Organisation") for _ in range(60)]
    assert answers[-1].headers["X-MinLimit-Remaining"] == "0"
    assert answers[-1].headers["X-DayLimit-Remaining"] == "4940"
    refused = caller.get("/Organisation")
    assert refused.status_code == 429
    assert refused.headers["X-Rate-Limit-Problem"] == "minute"
    caller.simulator.advance(float(refused.headers["Retry-After"]))
    assert caller.get("/Organisation").status_code == 200


def test_an_idempotency_key_is_known_for_six_minutes(caller: Caller) -> None:
    key = {"Idempotency-Key": "posting-1"}
    first = caller.put("/Invoices", invoice(), key).json()["Invoices"][0]["InvoiceID"]
    assert caller.put("/Invoices", invoice(), key).json()["Invoices"][0]["InvoiceID"] == first
    assert caller.put("/Invoices", invoice(Reference="other"), key).status_code == 400
    assert caller.put("/Invoices", invoice(), {"Idempotency-Key": "x" * 129}).status_code == 400
    caller.simulator.advance(361)
    assert caller.put("/Invoices", invoice(), key).json()["Invoices"][0]["InvoiceID"] != first


def test_a_token_ends_after_half_an_hour(caller: Caller) -> None:
    caller.simulator.advance(1801)
    refused = caller.get("/Organisation")
    assert (refused.status_code, refused.json()["Title"]) == (401, "Unauthorized")


def test_another_organisation_is_forbidden(simulator: XeroSimulator) -> None:
    caller = Caller(simulator)
    refused = caller.get("/Organisation", {"xero-tenant-id": KESTREL_EUROPE})
    assert (refused.status_code, refused.json()["Detail"]) == (403, "AuthenticationUnsuccessful")


def test_a_restart_keeps_the_books(tmp_path: Path) -> None:
    before = XeroSimulator(state=tmp_path)
    caller = Caller(before)
    (row,) = caller.put("/Invoices", invoice(InvoiceNumber="SHOP-1")).json()["Invoices"]
    before.close()
    after = XeroSimulator(state=tmp_path)
    again = Caller(after)
    assert again.get(f"/Invoices/{row['InvoiceID']}").json()["Invoices"][0]["Total"] == 12
    assert again.put("/Invoices", invoice(InvoiceNumber="SHOP-1")).status_code == 400
    assert isinstance(after.store, Store)
    after.close()


# ---------------------------------------------------------------------- lists


def test_filters_of_invoices(caller: Caller) -> None:
    rows = [invoice(InvoiceNumber=f"N-{n}", Reference=f"#{n}", Date=f"2026-04-{n:02d}") for n in range(1, 8)]
    caller.put("/Invoices", {"Invoices": rows})

    def numbers(**params: Any) -> list[str]:
        found = caller.get("/Invoices", **params).json()["Invoices"]
        return [row["InvoiceNumber"] for row in found]

    assert numbers(InvoiceNumbers="N-2,N-5") == ["N-2", "N-5"]
    assert numbers(where='Reference=="#3" OR Reference=="#4"') == ["N-3", "N-4"]
    assert numbers(where='Type=="ACCREC" AND Date>=DateTime(2026,04,06)') == ["N-6", "N-7"]
    assert numbers(where='Contact.Name.Contains("Archer") AND Total>12.00') == []
    assert numbers(order="Date DESC", page=1, pageSize=2) == ["N-7", "N-6"]
    assert numbers(Statuses="DRAFT") == []
    told = caller.get("/Invoices", page=2, pageSize=3).json()["pagination"]
    assert told == {"page": 2, "pageSize": 3, "pageCount": 3, "itemCount": 7}
    assert caller.get("/Invoices").json()["Invoices"][0]["LineItems"] == [], "summaries without paging"
    assert caller.get("/Invoices", where="Reference ==").status_code == 400
    assert caller.get("/Invoices", page=1, pageSize=1001).status_code == 400


@pytest.mark.parametrize("text", ["", "Name", 'Name=="a" AND', '(Name=="a"', "Name==a", 'Name=="a" "b"', "&&"])
def test_a_filter_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(QueryParseError):
        Where(text).parse()


# ---------------------------------------------------------------------- the official SDK


@pytest.fixture
def served(simulator: XeroSimulator) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sdk(simulator: XeroSimulator, served: str, monkeypatch: pytest.MonkeyPatch) -> ApiClient:
    """Xero's own client; only its addresses point elsewhere."""
    monkeypatch.setattr(TokenApi, "refresh_token_url", f"{served}/connect/token")
    with simulator.lock:
        _, kept = simulator.oauth.grant_for(KESTREL, SCOPES, "alice")
    kept["token_type"] = "Bearer"
    token = OAuth2Token(client_id=simulator.keys.client_id, client_secret=simulator.keys.client_secret)
    client = ApiClient(Configuration(oauth2_token=token), pool_threads=1)
    tokens = {"current": {**kept, "scope": list(SCOPES)}}
    client.oauth2_token_getter(lambda: tokens["current"])
    client.oauth2_token_saver(lambda fresh: tokens.update(current=fresh))
    client.set_oauth2_token(tokens["current"])
    return client


def test_the_official_sdk_works_unchanged(sdk: ApiClient, served: str) -> None:
    api = AccountingApi(sdk, base_url=f"{served}{API}")
    (connection,) = IdentityApi(sdk, base_url=served).get_connections()
    assert (connection.tenant_id, connection.tenant_name) == (KESTREL, "Kestrel & Co Ltd")

    contact = api.create_contacts(KESTREL, Contacts(contacts=[Contact(name="Bob Baker")])).contacts[0]
    line = LineItem(description="Lamp", quantity=2, unit_amount=Decimal("49.99"), account_code="200")
    document = Invoice(
        type="ACCREC",
        contact=contact,
        date=dt.date(2026, 4, 24),
        due_date=dt.date(2026, 5, 24),
        line_items=[line],
        status="AUTHORISED",
        reference="#1001",
    )
    made = api.create_invoices(KESTREL, Invoices(invoices=[document])).invoices[0]
    assert (made.sub_total, made.total_tax, made.total) == (Decimal("99.98"), Decimal("20"), Decimal("119.98"))

    payment = Payment(
        invoice=Invoice(invoice_id=made.invoice_id),
        account=Account(code="092"),
        amount=Decimal("119.98"),
        date=dt.date(2026, 4, 25),
    )
    paid = api.create_payments(KESTREL, Payments(payments=[payment])).payments[0]
    assert paid.payment_type == "ACCRECPAYMENT"
    listed = api.get_invoices(KESTREL, where='Reference=="#1001"', page=1).invoices
    assert [(found.status, found.amount_due) for found in listed] == [("PAID", Decimal(0))]
    assert len(api.get_tax_rates(KESTREL).tax_rates) == 10


def test_the_official_sdk_reads_refusals_and_refreshes(sdk: ApiClient, served: str) -> None:
    api = AccountingApi(sdk, base_url=f"{served}{API}")
    with pytest.raises(AccountingBadRequestException) as caught:
        api.create_invoices(KESTREL, Invoices(invoices=[Invoice(type="ACCREC", status="AUTHORISED")]))
    assert caught.value.error_data["Type"] == "ValidationException"
    before = sdk.configuration.oauth2_token.access_token
    assert sdk.refresh_oauth2_token()["access_token"] != before
    assert api.get_organisations(KESTREL).organisations[0].country_code.value == "GB"
