"""The shapes of Xero's requests and answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from werkzeug import Response

from connectors.providers.xero.simulator_books import Books, Invalid, Row, ms_date
from connectors.providers.xero.simulator_documents import Documents
from connectors.providers.xero.values import day, time_zone_name
from connectors.testing import Action, Refused, json_response

Check = Callable[[Row], Row]
VOIDINGS: dict[str, Action] = {"VOIDED": "void", "DELETED": "delete"}


def keep_document(documents: Documents, row: Row) -> Row:
    known = documents.books[documents.kind.collection].get(str(row.get(documents.kind.id_key, "")))
    if known is None:
        return documents.keep(row, by="connector", action="create")
    return documents.keep(row, by="connector", action=VOIDINGS.get(row["Status"], "update"))


def refusal_of(element: Row, check: Check) -> Row | None:
    try:
        check(element)
    except Invalid as invalid:
        return refused_element(element, invalid)
    return None


def refused_element(element: Row, invalid: Invalid) -> Row:
    """The object as Xero understood it, with the reasons against it."""
    errors = [{"Message": message} for message in invalid.messages]
    dates = {key: _echoed(element[key]) for key in ("Date", "DueDate") if element.get(key)}
    return {**element, **dates, "ValidationErrors": errors}


def _echoed(date: Any) -> Any:
    try:
        return ms_date(day(date) or dt.date.min)
    except ValueError:
        return date


def validation_answer(elements: list[Row], message: str = "A validation exception occurred") -> Response:
    body = {"ErrorNumber": 10, "Type": "ValidationException", "Message": message, "Elements": elements}
    return json_response(body, 400)


def elements_of(body: Any, collection: str) -> list[Row]:
    """The objects of a request: in their wrapper, as a list, or a single one. Raises `Refused`."""
    if isinstance(body, dict):
        body = body.get(collection, body)
    elements = body if isinstance(body, list) else [body]
    if not all(isinstance(element, dict) for element in elements):
        raise Refused(400, "The body holds no objects")
    return elements


def organisation_row(books: Books) -> Row:
    organisation = books.organisation
    row: Row = {
        "OrganisationID": books.id,
        "Name": organisation["name"],
        "LegalName": organisation["name"],
        "PaysTax": True,
        "Version": books.country.version,
        "OrganisationType": "COMPANY",
        "BaseCurrency": books.base_currency,
        "CountryCode": organisation["country"],
        "IsDemoCompany": False,
        "OrganisationStatus": "ACTIVE",
        "FinancialYearEndDay": 31,
        "FinancialYearEndMonth": 3,
        "SalesTaxBasis": "ACCRUALS",
        "DefaultSalesTax": "Tax Exclusive",
        "Timezone": time_zone_name(organisation["time_zone"]),
        "Edition": "BUSINESS",
        "Class": "PREMIUM",
    }
    for key, name in (("books_closed_until", "PeriodLockDate"), ("year_closed_until", "EndOfYearLockDate")):
        if organisation.get(key):
            row[name] = ms_date(dt.date.fromisoformat(str(organisation[key])))
    return row
