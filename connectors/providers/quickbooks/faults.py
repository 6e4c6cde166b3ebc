"""QuickBooks' refusals, said in sentences a bookkeeper can act on."""

from __future__ import annotations

from typing import Any

from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    RateLimited,
    ReconnectRequired,
    RecordRejected,
    UnexpectedResponse,
)

#: QuickBooks names no time to wait and documents one minute.
THROTTLE_SECONDS = 60.0


class Faulty(UnexpectedResponse):
    """A whole request that QuickBooks refused for what it says, in its own words: not an answer nobody can read."""

    def __init__(self, user_message: str, *, fault: dict[str, Any], detail: str) -> None:
        super().__init__(user_message, detail=detail)
        self.fault = fault


def fault_of(body: Any) -> dict[str, Any] | None:
    """The fault inside an answer, whichever of QuickBooks' three spellings it came in, as {"type", "errors"}."""
    if not isinstance(body, dict):
        return None
    for key in ("Fault", "fault"):
        if isinstance(body.get(key), dict):
            return _plain(body[key])
    if "code" in body and "type" in body and "detail" in body:
        return {"type": body["type"], "errors": [_error(body)]}
    return None


def _plain(fault: dict[str, Any]) -> dict[str, Any]:
    errors = fault.get("Error") or fault.get("error") or []
    return {"type": str(fault.get("type", "")), "errors": [_error(error) for error in errors]}


def _error(error: dict[str, Any]) -> dict[str, str]:
    by_lower = {key.lower(): value for key, value in error.items()}
    return {key: str(by_lower.get(key) or "") for key in ("message", "detail", "code", "element")}


def refusal(fault: dict[str, Any], *, status: int, pause: float = THROTTLE_SECONDS) -> ConnectorError:
    """A fault of a whole request."""
    first = fault["errors"][0] if fault["errors"] else {"message": "", "detail": "", "code": "", "element": ""}
    kind, code = fault["type"].upper(), first["code"]
    technical = technical_text(fault, status)
    if kind == "THROTTLE" or code in {"3001", "003001"} or status == 429:
        return RateLimited("QuickBooks asked us to slow down.", retry_after=pause, detail=technical)
    if status == 401 or kind.startswith("AUTHENTICATION") or code in {"3200", "003200", "AuthenticationFailed"}:
        return ReconnectRequired("QuickBooks no longer accepts this connection. Reconnect to go on.", detail=technical)
    if code == "120":
        sentence = "The person who connected QuickBooks can no longer open this company. Reconnect as an administrator."
        return ReconnectRequired(sentence, detail=technical)
    if status == 403 or kind.startswith("AUTHORIZATION"):
        sentence = "QuickBooks does not let this connection do that. Check the connecting person's rights."
        return ConfigurationError(sentence, detail=technical)
    if code == "6190":
        return ConfigurationError(_SUBSCRIPTION, detail=technical)
    return Faulty(f"QuickBooks did not understand a request: {first['message']}.", fault=fault, detail=technical)


def technical_text(fault: dict[str, Any], status: int) -> str:
    parts = [f"{error['code']} {error['message']}: {error['detail']}" for error in fault["errors"]]
    return f"HTTP {status} {fault['type']} " + "; ".join(parts)[:500]


def rejection(fault: dict[str, Any], *, status: int = 200) -> RecordRejected:
    """A fault of one element. QuickBooks has reused codes over the years, so its words count before the number."""
    first = fault["errors"][0] if fault["errors"] else {"message": "", "detail": "", "code": "", "element": ""}
    words = f"{first['message']} {first['detail']}".lower()
    for needles, code, sentence in _WORDS:
        if any(needle in words for needle in needles):
            return RecordRejected(sentence, code=code, detail=technical_text(fault, status))
    code, sentence = _CODES.get(first["code"], ("other", "QuickBooks refused this record: {said}"))
    said = (first["detail"] or first["message"]).strip().rstrip(".") + "."
    return RecordRejected(sentence.format(said=said), code=code, detail=technical_text(fault, status))


_SUBSCRIPTION = "The QuickBooks subscription of this company has ended. Renew it in QuickBooks to go on."

#: (words looked for, our code, sentence), most telling first.
_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("period closed", "period has closed", "books are closed", "closing date"),
        "closed_period",
        "The books are closed for this date in QuickBooks. Post it with a later date or move the closing date back.",
    ),
    (
        ("reconciled",),
        "reconciled",
        "It is reconciled with the bank in QuickBooks, which lets nobody change it.",
    ),
    (
        ("has been deposited", "deposited transaction"),
        "deposited",
        "It is part of a bank deposit in QuickBooks, which lets nobody change it.",
    ),
    (
        ("made inactive", "is inactive", "has been deleted"),
        "archived_account",
        "The document uses a ledger account, customer or item that was made inactive in QuickBooks. Make it active "
        "again or choose another in the mapping.",
    ),
    (
        ("duplicate document number", "duplicate doc number"),
        "duplicate",
        "QuickBooks already has a document with this number.",
    ),
    (
        ("name supplied already exists", "duplicate name"),
        "duplicate",
        "QuickBooks already uses this name for a customer, supplier or employee; it allows each name once. Rename one.",
    ),
    (
        ("stale object",),
        "stale",
        "Somebody changed this in QuickBooks meanwhile. It is read again before the next try.",
    ),
    (
        ("multicurrency", "multi currency", "currency is not", "currency of the transaction"),
        "missing_reference",
        "The currency is not switched on in QuickBooks, or it differs from the customer's own currency there.",
    ),
    (
        ("vat rate", "tax code", "taxcode", "tax rate"),
        "missing_reference",
        "A line has a tax code QuickBooks does not know, or none where it needs one. Choose the tax code in the mapping.",
    ),
)

_CODES: dict[str, tuple[str, str]] = {
    "610": ("missing_reference", "The record, or something it refers to, is not in QuickBooks any more."),
    "2500": ("missing_reference", "The document refers to something that is not in QuickBooks: {said}"),
    "2020": ("missing_reference", "QuickBooks needs a value that is missing: {said}"),
    "6070": ("amount", "The amounts do not add up for QuickBooks: {said}"),
    "6190": ("other", _SUBSCRIPTION),
    "10000": ("other", "QuickBooks had trouble with this record and said no more. Try it again later."),
}
