"""What only QuickBooks does: its feed, its names, its taxes, its numbers, and how few calls all that takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connectors.providers.quickbooks import batches
from connectors.providers.quickbooks.client import request_id
from connectors.providers.quickbooks.reading_documents import spread
from connectors.providers.quickbooks.streams import (
    BankTransfers,
    CreditNotes,
    CustomerPayments,
    Customers,
    Expenses,
    Invoices,
    TaxRates,
)
from connectors.providers.quickbooks.testbench import (
    CHECKING,
    CLEARING,
    FEES,
    HARBOR,
    KESTREL,
    SALES,
    SHIPPING,
    Company,
    all_of,
    drafts,
    rejected,
    written,
)
from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    Party,
)
from connectors.sdk.streams import Outcome, SourceRecord, Written

STANDARD, NO_VAT = "2", "10"


@pytest.fixture
def kestrel() -> Iterator[Company]:
    company = Company(KESTREL)
    yield company
    company.simulator.close()


@pytest.fixture
def harbor() -> Iterator[Company]:
    company = Company(HARBOR)
    yield company
    company.simulator.close()


# ---------------------------------------------------------------------- how few calls


def test_two_thousand_records_are_read_in_two_calls(kestrel: Company) -> None:
    customers = [Customer(id="", name=f"Customer {number}") for number in range(2000)]
    kestrel.plant(*customers)
    found: list[SourceRecord] = []
    calls = kestrel.calls_of(lambda: found.extend(all_of(Customers().pages(kestrel.client, None))))
    assert (calls, len({record.external_id for record in found})) == (2, 2000)


def test_three_hundred_invoices_of_new_customers_need_no_lookup_after_the_second_batch(kestrel: Company) -> None:
    invoices = [kestrel.invoice(number, customer=Party(name=f"Buyer {number % 20}")) for number in range(300)]

    def write() -> None:
        for start in range(0, 300, 30):
            part = drafts(invoices[start : start + 30])
            assert all(written(one) for one in Invoices().create(kestrel.client, part, key=f"batch-{start}"))

    calls = kestrel.calls_of(write)
    items, names, new_items, new_names, batches = 1, 1, 1, 1, 10
    assert calls == items + names + new_items + new_names + batches


def test_customers_of_anticipated_invoices_are_created_thirty_to_a_call(kestrel: Company) -> None:
    invoices = drafts([kestrel.invoice(n, customer=Party(name=f"Buyer {n}")) for n in range(90)])
    items, names, new_items, new_names, batches = 1, 1, 1, 3, 3
    told = kestrel.calls_of(lambda: Invoices().anticipate(kestrel.client, invoices, key="ahead"))
    assert told == items + names + new_items + new_names

    def write() -> None:
        for start in range(0, 90, 30):
            assert all(
                written(one) for one in Invoices().create(kestrel.client, invoices[start : start + 30], key=str(start))
            )

    assert kestrel.calls_of(write) == batches


def test_customers_of_a_short_list_are_known_from_the_first_look_on(kestrel: Company) -> None:
    """The list comes with the names of the first documents, where those are many; only what is not in it is created later."""
    first, second = (
        drafts([kestrel.invoice(n, customer=Party(name=f"Buyer {n}")) for n in range(start, start + 60)])
        for start in (0, 40)
    )
    Invoices().anticipate(kestrel.client, first, key="first")
    new_names = 2
    assert kestrel.calls_of(lambda: Invoices().anticipate(kestrel.client, second, key="second")) == new_names


def test_credit_memos_and_refund_receipts_are_listed_in_one_call(kestrel: Company) -> None:
    shared = msgspec.structs.asdict(kestrel.invoice(1))
    note = CreditNote(**{**shared, "number": "C1"})
    kestrel.plant(note, msgspec.structs.replace(note, number="R1", refund_ledger_account=CLEARING))
    found: list[SourceRecord] = []
    calls = kestrel.calls_of(lambda: found.extend(all_of(CreditNotes().pages(kestrel.client, None))))
    accounts = [record.record.refund_ledger_account for record in found if isinstance(record.record, CreditNote)]
    assert (calls, sorted(accounts)) == (1, ["", CLEARING])


# ---------------------------------------------------------------------- listing and feed


def test_row_at_the_end_of_a_page_that_moves_takes_none_with_it(kestrel: Company) -> None:
    """The last row of the first page changes before the second is asked for: the next one slips into its place."""
    stream = Customers()
    stream.page_size = 3  # type: ignore[misc]
    names = [f"Customer {number}" for number in range(9)]
    records = [
        Customer(id="", name=name, updated_at=kestrel.now - dt.timedelta(hours=9 - number))
        for number, name in enumerate(names)
    ]
    ids = kestrel.plant(*records)
    pages = stream.pages(kestrel.client, None)
    arrived = [record.external_id for record in next(pages).records]
    kestrel.plant(msgspec.structs.replace(records[2], id=ids[2], phone="+44 20 7946 0001"))
    arrived += [record.external_id for page in pages for record in page.records]
    assert set(arrived) == set(ids)


def test_deletion_arrives_through_the_feed(kestrel: Company) -> None:
    stream = BankTransfers()
    transfer = BankTransfer(
        id="",
        date=kestrel.now.date(),
        currency="GBP",
        amount=Decimal("5.00"),
        from_ledger_account=CLEARING,
        to_ledger_account=CHECKING,
    )
    kept, gone = kestrel.plant(transfer, transfer)
    cursor = list(stream.pages(kestrel.client, None))[-1].cursor
    kestrel.simulator.advance(600)
    kestrel.plant(msgspec.structs.replace(transfer, id=gone, status="void"))
    (page,) = stream.pages(kestrel.client, cursor)
    (deleted,) = [record for record in page.records if record.is_deleted]
    assert isinstance(deleted.record, BankTransfer)
    assert (deleted.external_id, deleted.record.status) == (gone, "void")
    assert {record.external_id for record in stream.fetch(kestrel.client, [kept, gone]).records} == {kept}


def test_overfull_feed_is_made_good_by_listing(kestrel: Company) -> None:
    stream = Invoices()
    kestrel.plant(kestrel.invoice(0))
    cursor = list(stream.pages(kestrel.client, None))[-1].cursor
    kestrel.simulator.advance(600)
    ids = kestrel.plant(*[kestrel.invoice(number) for number in range(1, 1102)])
    pages = list(stream.pages(kestrel.client, cursor))
    assert set(ids) <= {record.external_id for page in pages for record in page.records}
    assert [page.is_last for page in pages].count(True) == 1


def test_feed_that_no_longer_reaches_back_is_replaced_by_listing(kestrel: Company) -> None:
    stream = Invoices()
    kestrel.plant(kestrel.invoice(0))
    cursor = list(stream.pages(kestrel.client, None))[-1].cursor
    kestrel.simulator.advance(40 * 86400)
    client = kestrel.client = kestrel.new_client()
    (later,) = kestrel.plant(kestrel.invoice(1))
    assert later in {record.external_id for record in all_of(stream.pages(client, cursor))}


# ---------------------------------------------------------------------- looking up


def test_look_up_goes_on_to_the_last_row(kestrel: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = drafts([kestrel.invoice(number) for number in range(5)])
    assert all(written(one) for one in Invoices().create(kestrel.client, wanted, key="five"))
    monkeypatch.setattr(batches, "PAGE_SIZE", 2)
    assert set(Invoices().find(kestrel.client, wanted)) == {draft.key for draft in wanted}


def test_days_of_more_money_back_than_one_call_asks_for_are_asked_for_in_several(kestrel: Company) -> None:
    days = [dt.date(2026, 8, 1) + dt.timedelta(days=number) for number in range(40)]
    wanted = drafts([msgspec.structs.replace(money_back(kestrel), date=day) for day in days])
    assert kestrel.calls_of(lambda: Expenses().find(kestrel.client, wanted)) == 2


# ---------------------------------------------------------------------- names, items, currencies


def test_somebody_with_a_second_currency_becomes_a_second_customer(kestrel: Company) -> None:
    pounds, euros = kestrel.invoice(1), kestrel.invoice(2, currency="EUR")
    first = Invoices().create(kestrel.client, drafts([pounds]), key="pounds")
    second = Invoices().create(kestrel.client, drafts([euros]), key="euros")
    names = [written(one[0]).raw["CustomerRef"]["name"] for one in (first, second)]
    assert names == ["Ada Byron", "Ada Byron (EUR)"]
    assert written(second[0]).raw["CurrencyRef"]["value"] == "EUR"


def test_entries_in_a_foreign_currency_go_out_at_the_rate_of_their_own_day(kestrel: Company) -> None:
    """Without a rate QuickBooks would book them one to one. A day is asked for once."""
    early, late = kestrel.now.date() - dt.timedelta(days=2), kestrel.now.date()
    kestrel.simulator.open_organisation(
        {"id": KESTREL, "rates": {"EUR": "0.9"}, "rates_on": {early.isoformat(): {"EUR": "0.8"}}}
    )
    sold = [kestrel.invoice(number, currency="EUR", date=day) for number, day in enumerate((early, late, early))]
    booked = [written(one).raw for one in Invoices().create(kestrel.client, drafts(sold), key="euros")]
    assert [row["ExchangeRate"] for row in booked] == [Decimal("0.8"), Decimal("0.9"), Decimal("0.8")]
    assert [row["HomeTotalAmt"] for row in booked] == [Decimal("8.00"), Decimal("9.00"), Decimal("8.00")]
    given = kestrel.invoice(9, currency="EUR", exchange_rate=Decimal("0.7"))
    (other,) = Invoices().create(kestrel.client, drafts([given]), key="given")
    assert written(other).raw["ExchangeRate"] == Decimal("0.7")
    more = [kestrel.invoice(number, currency="EUR", date=early) for number in (20, 21)]
    assert kestrel.calls_of(lambda: Invoices().create(kestrel.client, drafts(more), key="more")) == 1


def test_every_kind_of_entry_is_converted(kestrel: Company) -> None:
    kestrel.simulator.open_organisation({"id": KESTREL, "rates": {"EUR": "0.9"}})
    common: dict[str, Any] = {"id": "", "date": kestrel.now.date(), "currency": "EUR", "reference": "TO-1"}
    moved = BankTransfer(**common, amount=Decimal("5.00"), from_ledger_account=CLEARING, to_ledger_account=CHECKING)
    paid = CustomerPayment(**common, amount=Decimal("5.00"), ledger_account=CLEARING, customer=Party(name="Max"))
    spent = Expense(**common, amount=Decimal("5.00"), paid_from_ledger_account=CLEARING, ledger_account=FEES)
    back = Expense(**common, amount=Decimal("-5.00"), paid_from_ledger_account=CLEARING, ledger_account=FEES)
    for stream, records in ((BankTransfers(), [moved]), (CustomerPayments(), [paid]), (Expenses(), [spent, back])):
        for outcome in stream.create(kestrel.client, drafts(records), key=stream.data_type):
            assert written(outcome).raw["ExchangeRate"] == Decimal("0.9")


def test_day_without_a_rate_says_what_to_do(kestrel: Company) -> None:
    kestrel.simulator.open_organisation({"id": KESTREL, "rates": {"EUR": "0.0"}})
    (outcome,) = Invoices().create(kestrel.client, drafts([kestrel.invoice(1, currency="EUR")]), key="none")
    assert "Enter one in QuickBooks" in rejected(outcome).user_message


def test_currency_that_is_not_switched_on_is_named(kestrel: Company) -> None:
    (outcome,) = Invoices().create(kestrel.client, drafts([kestrel.invoice(1, currency="JPY")]), key="yen")
    assert "currency" in rejected(outcome).user_message


def test_name_of_a_supplier_cannot_become_a_customer(kestrel: Company) -> None:
    expense = Expense(
        id="",
        date=kestrel.now.date(),
        currency="GBP",
        amount=Decimal("1.00"),
        paid_from_ledger_account=CLEARING,
        ledger_account=FEES,
        supplier=Party(name="Ada Byron"),
    )
    kestrel.plant(expense)
    good = kestrel.invoice(2, customer=Party(name="Grace Hopper"))
    bad, fine = Invoices().create(kestrel.client, drafts([kestrel.invoice(1), good]), key="names")
    assert rejected(bad).code == "duplicate"
    assert written(fine).number == "A2"


def test_document_without_a_customer_is_refused_before_it_is_sent(kestrel: Company) -> None:
    (outcome,) = Invoices().create(kestrel.client, drafts([kestrel.invoice(1, customer=Party())]), key="nobody")
    assert rejected(outcome).code == "missing_reference"
    assert kestrel.simulator.counts["POST /v3/company/<realm>/batch"] == 2, "reading items and creating one"


def test_each_income_account_gets_one_service_item(kestrel: Company) -> None:
    lines = tuple(
        DocumentLine(description=account, amount=Decimal("1.00"), ledger_account=account)
        for account in (SALES, SHIPPING, SALES)
    )
    document = kestrel.invoice(1, lines=lines, total=Decimal("3.00"))
    for key in ("first", "second"):
        part = drafts([msgspec.structs.replace(document, number=key)])
        (outcome,) = Invoices().create(kestrel.new_client(), part, key=key)
    accounts = [line.ledger_account for line in _read(outcome).lines]
    items = kestrel.simulator.books(KESTREL).rows("Item").values()
    assert accounts == [SALES, SHIPPING, SALES]
    assert len(items) == 3, "Services, and one for each of the two accounts"


def _read(outcome: Outcome) -> Invoice:
    record = Invoices.entities[0].convert(written(outcome).raw)
    assert isinstance(record, Invoice)
    return record


def test_number_somebody_used_is_reported(kestrel: Company) -> None:
    kestrel.plant(kestrel.invoice(7, reference="typed by hand"))
    (outcome,) = Invoices().create(kestrel.client, drafts([kestrel.invoice(7)]), key="again")
    assert rejected(outcome).code == "duplicate"
    assert Invoices().find(kestrel.client, drafts([kestrel.invoice(7)])) == {}, "it is not ours"


def test_long_numbers_and_references_are_still_found(kestrel: Company) -> None:
    long = kestrel.invoice(1, number="SHOPIFY-2026-000000000123456", reference="TO-" + "7" * 60)
    (outcome,) = Invoices().create(kestrel.client, drafts([long]), key="long")
    assert written(outcome).number == "SHOPIFY-2026-00000000"
    assert Invoices().find(kestrel.client, drafts([long]))["key-0"].external_id == written(outcome).external_id


def test_request_ids_fit_into_fifty_characters() -> None:
    assert request_id("short") == "short"
    assert len(request_id("x" * 51)) == 50
    assert request_id("x" * 51) != request_id("x" * 52)


# ---------------------------------------------------------------------- tax


def taxed_line(amount: str, tax: str, code: str) -> DocumentLine:
    return DocumentLine(
        description="Oak shelf",
        amount=Decimal(amount),
        ledger_account=SALES,
        tax_rate=code,
        tax_amount=Decimal(tax),
    )


def test_tax_the_shop_collected_is_kept_in_the_united_states(harbor: Company) -> None:
    lines = (taxed_line("100.00", "8.88", "TAX"), taxed_line("20.00", "0", ""))
    document = harbor.invoice(1, tax_mode="exclusive", lines=lines, total=Decimal("128.88"), tax_total=Decimal("8.88"))
    (outcome,) = Invoices().create(harbor.client, drafts([document]), key="tax")
    read = _read(outcome)
    assert (read.total, read.tax_total, read.tax_mode) == (Decimal("128.88"), Decimal("8.88"), "exclusive")
    assert [(line.tax_rate, line.tax_amount) for line in read.lines] == [("TAX", Decimal("8.88")), ("", Decimal(0))]


def test_prices_with_tax_become_prices_without_it_in_the_united_states(harbor: Company) -> None:
    document = harbor.invoice(
        1,
        tax_mode="inclusive",
        lines=(taxed_line("108.88", "8.88", "TAX"),),
        total=Decimal("108.88"),
        tax_total=Decimal("8.88"),
    )
    (outcome,) = Invoices().create(harbor.client, drafts([document]), key="tax")
    assert (_read(outcome).total, _read(outcome).lines[0].amount) == (Decimal("108.88"), Decimal("100.00"))


def test_line_without_tax_gets_the_code_that_says_so_in_britain(kestrel: Company) -> None:
    lines = (taxed_line("120.00", "20.00", STANDARD), taxed_line("5.00", "0", ""))
    document = kestrel.invoice(
        1, tax_mode="inclusive", lines=lines, total=Decimal("125.00"), tax_total=Decimal("20.00")
    )
    (outcome,) = Invoices().create(kestrel.client, drafts([document]), key="tax")
    read = _read(outcome)
    assert (read.total, read.tax_total) == (Decimal("125.00"), Decimal("20.00"))
    assert [line.tax_rate for line in read.lines] == [STANDARD, NO_VAT]


def test_tax_rounded_line_by_line_ties_out_to_the_cent(kestrel: Company) -> None:
    """Three lines of 0.33 with 0.07 tax each make 0.21, where one rounding of the sum makes 0.20."""
    lines = tuple(taxed_line("0.33", "0.07", STANDARD) for _ in range(3))
    document = kestrel.invoice(1, tax_mode="exclusive", lines=lines, total=Decimal("1.20"), tax_total=Decimal("0.21"))
    (outcome,) = Invoices().create(kestrel.client, drafts([document]), key="tax")
    assert (written(outcome).total, _read(outcome).tax_total) == (Decimal("1.20"), Decimal("0.21"))


def test_unknown_tax_code_is_named(kestrel: Company) -> None:
    document = kestrel.invoice(1, tax_mode="exclusive", lines=(taxed_line("1.00", "0.20", "99"),))
    (outcome,) = Invoices().create(kestrel.client, drafts([document]), key="tax")
    assert "tax code" in rejected(outcome).user_message


def test_code_for_no_tax_is_not_offered_as_a_tax(harbor: Company) -> None:
    assert [record.external_id for record in all_of(TaxRates().pages(harbor.client, None))] == ["TAX"]


def test_a_tax_is_spread_over_its_lines_without_losing_a_cent() -> None:
    shares = spread(Decimal("0.10"), [Decimal(1), Decimal(1), Decimal(1)])
    assert (sum(shares), [str(share) for share in shares]) == (Decimal("0.10"), ["0.03", "0.04", "0.03"])


# ---------------------------------------------------------------------- payments and locks


def test_payment_settles_its_invoice_and_gives_it_back_when_voided(kestrel: Company) -> None:
    (outcome,) = Invoices().create(kestrel.client, drafts([kestrel.invoice(1)]), key="invoice")
    id = written(outcome).external_id
    payment = CustomerPayment(
        id="",
        date=kestrel.now.date(),
        currency="GBP",
        amount=Decimal("10.00"),
        ledger_account=CLEARING,
        document_number="A1",
        customer=Party(name="Ada Byron"),
        reference="TO-P1",
    )
    (paid,) = CustomerPayments().create(kestrel.client, drafts([payment]), key="payment")
    assert _state(kestrel, id) == "paid"
    CustomerPayments().void(kestrel.client, [written(paid).external_id])
    assert _state(kestrel, id) == "open"
    too_much = msgspec.structs.replace(payment, amount=Decimal("10.01"), document_id=id)
    (outcome,) = CustomerPayments().create(kestrel.client, drafts([too_much]), key="too much")
    assert rejected(outcome).user_message.startswith("QuickBooks refused")


def _state(company: Company, id: str) -> str:
    (found,) = Invoices().fetch(company.client, [id]).records
    assert isinstance(found.record, Invoice)
    return found.record.status


def test_payment_changes_an_invoices_version_though_not_its_lock(kestrel: Company) -> None:
    (id,) = kestrel.plant(kestrel.invoice(1))
    (before,) = Invoices().fetch(kestrel.client, [id]).records
    kestrel.simulator.advance(60)
    payment = CustomerPayment(
        id="", date=kestrel.now.date(), currency="GBP", amount=Decimal("4"), ledger_account=CLEARING, document_id=id
    )
    kestrel.plant(payment)
    (after,) = Invoices().fetch(kestrel.client, [id]).records
    assert after.version != before.version
    assert after.raw["SyncToken"] == before.raw["SyncToken"]


def test_customer_changed_meanwhile_is_not_overwritten(kestrel: Company) -> None:
    customer = Customer(id="", name="Ada Byron", email="ada@byron.example")
    (id,) = kestrel.plant(customer)
    (seen,) = Customers().fetch(kestrel.client, [id]).records
    kestrel.plant(msgspec.structs.replace(customer, id=id, email="staff@byron.example"))
    (draft,) = drafts([msgspec.structs.replace(customer, phone="+44 20 7946 0001")])
    outcome = Customers().update(kestrel.client, id, draft, version=seen.version)
    assert rejected(outcome).code == "stale"


def test_credit_note_is_not_paid_back_by_a_payment(kestrel: Company) -> None:
    payment = CustomerPayment(
        id="",
        date=kestrel.now.date(),
        currency="GBP",
        amount=Decimal("1"),
        ledger_account=CLEARING,
        settles="credit_note",
        customer=Party(name="Ada Byron"),
    )
    (outcome,) = CustomerPayments().create(kestrel.client, drafts([payment]), key="back")
    assert "refund receipt" in rejected(outcome).user_message


def money_back(company: Company, **changes: Any) -> Expense:
    values: dict[str, Any] = {
        "id": "",
        "date": company.now.date(),
        "currency": "GBP",
        "amount": Decimal("-3.63"),
        "paid_from_ledger_account": CLEARING,
        "ledger_account": FEES,
        "supplier": Party(name="Stripe"),
        "reference": "TO-E1",
    }
    return Expense(**{**values, **changes})


def test_money_that_came_back_to_a_bank_account_is_a_deposit(kestrel: Company) -> None:
    """A purchase with `Credit` is for cards only."""
    wanted = drafts([money_back(kestrel)])
    (outcome,) = Expenses().create(kestrel.client, wanted, key="fees")
    assert written(outcome).total == Decimal("-3.63")
    assert Expenses().find(kestrel.client, wanted)["key-0"].external_id == written(outcome).external_id
    (found,) = Expenses().fetch(kestrel.client, [written(outcome).external_id]).records
    assert isinstance(found.record, Expense)
    assert (found.record.amount, found.record.ledger_account, found.record.reference) == (
        Decimal("-3.63"),
        FEES,
        "TO-E1",
    )
    (gone,) = Expenses().void(kestrel.client, [found.external_id])
    assert isinstance(gone, Written)
    assert not Expenses().fetch(kestrel.client, [found.external_id]).records


def test_money_that_came_back_to_a_card_is_a_credit_on_it(kestrel: Company) -> None:
    expense = money_back(kestrel, paid_from_ledger_account="41", tax_rate=STANDARD)
    (outcome,) = Expenses().create(kestrel.client, drafts([expense]), key="fees")
    assert written(outcome).total == Decimal("-3.63")
    read = Expenses.entities[0].convert(written(outcome).raw)
    assert isinstance(read, Expense)
    assert (read.amount, read.ledger_account, read.tax_rate) == (Decimal("-3.63"), FEES, STANDARD)


@pytest.mark.parametrize("cents", [1, 2, 3, 4, 5, 6, 7, 99, 363, 10_001])
def test_purchase_tax_comes_back_with_a_deposit_to_the_cent(kestrel: Company, cents: int) -> None:
    """Whatever rounding makes of the amount without tax."""
    expense = money_back(kestrel, amount=-Decimal(cents) / 100, tax_rate=STANDARD)
    (outcome,) = Expenses().create(kestrel.client, drafts([expense]), key="fees")
    (found,) = Expenses().fetch(kestrel.client, [written(outcome).external_id]).records
    assert isinstance(found.record, Expense)
    assert (found.record.amount, found.record.tax_rate) == (expense.amount, STANDARD)
    (line,) = written(outcome).raw["Line"]
    taxes = kestrel.simulator.ledger.standing(KESTREL)[-1]["movements"]
    assert Decimal(taxes.get("sales tax", 0)) == expense.amount + line["Amount"]
    assert line["DepositLineDetail"]["TaxApplicableOn"] == "Purchase"


def test_purchase_says_what_it_is_without_tax_and_with(kestrel: Company) -> None:
    """QuickBooks takes the amount of a line for one without tax."""
    expense = money_back(kestrel, amount=Decimal("3.63"), tax_rate=STANDARD)
    body = Expenses().preview(kestrel.client, drafts([expense])).body["BatchItemRequest"][0]["Purchase"]
    (line,) = body["Line"]
    sent = (line["Amount"], line["AccountBasedExpenseLineDetail"]["TaxInclusiveAmt"])
    assert sent == (Decimal("3.03"), Decimal("3.63"))
    (outcome,) = Expenses().create(kestrel.client, drafts([expense]), key="fees")
    assert (written(outcome).total, written(outcome).raw["TxnTaxDetail"]["TotalTax"]) == (
        Decimal("3.63"),
        Decimal("0.60"),
    )


def test_deposit_with_a_tax_code_that_is_for_sales_alone_is_refused(kestrel: Company) -> None:
    (outcome,) = Expenses().create(kestrel.client, drafts([money_back(kestrel, tax_rate="999")]), key="fees")
    assert "not one for purchases" in rejected(outcome).user_message


def test_what_is_gone_cannot_be_taken_back_and_says_so(kestrel: Company) -> None:
    (id,) = kestrel.plant(kestrel.invoice(1))
    first, missing, again = (Invoices().void(kestrel.client, [one])[0] for one in (id, "987654", id))
    assert written(first).external_id == written(again).external_id == id
    assert rejected(missing).code == "missing_reference"
