"""QuickBooks' refusals as the simulator sends them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Faulted(Exception):
    """One operation is refused."""

    def __init__(
        self, code: str, message: str, detail: str, *, element: str = "", kind: str = "ValidationFault"
    ) -> None:
        super().__init__(detail)
        self.body: Json = {
            "Error": [{"Message": message, "Detail": detail, "code": code, "element": element}],
            "type": kind,
        }


def missing(name: str) -> Faulted:
    detail = f"Required parameter {name} is missing in the request"
    return Faulted(
        "2020", "Required param missing, need to supply the required value for the API", detail, element=name
    )


def invalid_reference(what: str, id: str) -> Faulted:
    return Faulted("2500", "Invalid Reference Id", f"Invalid Reference Id : {what} element id {id} not found")


def inactive() -> Faulted:
    detail = (
        "Object Not Found : Something you're trying to use has been made inactive. "
        "Check the fields with accounts, customers, items, vendors or employees."
    )
    return Faulted("610", "Object Not Found", detail)


def not_found() -> Faulted:
    return Faulted("610", "Object Not Found", "Object Not Found : Another user has deleted this transaction.")


def stale() -> Faulted:
    detail = (
        "Stale Object Error : You and another person were working on this at the same time. "
        "The other finished before you did, so your work was not saved."
    )
    return Faulted("5010", "Stale Object Error", detail)


def duplicate_name(kind: str) -> Faulted:
    detail = (
        f"The name supplied already exists. : Another {kind} is already using this name. Please use a different name."
    )
    return Faulted("6240", "Duplicate Name Exists Error", detail)


def duplicate_number(number: str, kind: str, id: str) -> Faulted:
    detail = (
        "Duplicate Document Number Error : You must specify a different number. This number has already been used. "
        f"DocNumber={number} is assigned to TxnType={kind} with TxnId={id}"
    )
    return Faulted("6140", "Duplicate Document Number Error", detail)


def period_closed() -> Faulted:
    detail = (
        "The account period has closed and the account books cannot be updated through the QuickBooks Online "
        "Services API. Please use the QuickBooks website to make these changes."
    )
    return Faulted("6210", "Account Period Closed, Cannot Update Through Services Error", detail)


def reconciled() -> Faulted:
    """QuickBooks documents no code of its own for this; the words are those its pages use."""
    return business("Business Validation Error: You can't change or delete a transaction that has been reconciled.")


def business(detail: str) -> Faulted:
    return Faulted("6000", "A business validation error has occurred while processing your request", detail)


def unreadable_query(detail: str) -> Faulted:
    return Faulted("4000", "Error parsing query", f"QueryParserError: {detail}")


def unsupported(what: str) -> Faulted:
    return Faulted("500", "Unsupported Operation", f"Operation {what} is not supported.")


def too_long(name: str, limit: int) -> Faulted:
    detail = f"String length specified does not match the supported length. {name}: Max Length supported {limit}"
    return Faulted("2050", "String length is either shorter or longer than supported by specification", detail)


def invalid_value(name: str, value: object) -> Faulted:
    return Faulted("2010", "Request has invalid or unsupported property", f"Property Name:{name} has the value {value}")
