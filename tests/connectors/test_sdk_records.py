"""Standard records, the manifest's hosts and webhook signatures."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from decimal import Decimal

import msgspec
import pytest

from connectors.sdk.records import DATA_TYPE_NAMES, RECORD_TYPES, DocumentLine, Invoice, Party, decode, encode
from connectors.sdk.webhooks import signed_base64
from tests.connectors.sample.manifest import MANIFEST


def invoice(**changes: object) -> Invoice:
    found = Invoice(
        id="1",
        date=dt.date(2026, 1, 31),
        currency="GBP",
        customer=Party(name="Alder & Finch Ltd"),
        lines=(DocumentLine(description="Shelf", amount=Decimal("0.10"), ledger_account="200"),),
        total=Decimal("0.10"),
    )
    return msgspec.structs.replace(found, **changes)


def test_records_survive_storage_exactly() -> None:
    found = decode("invoice", encode(invoice()))
    assert found == invoice()
    assert isinstance(found, Invoice)
    assert str(found.lines[0].amount) == "0.10"


def test_equal_records_give_equal_bytes() -> None:
    first = invoice(custom={"b": 1, "a": 2})
    second = invoice(custom={"a": 2, "b": 1})
    assert encode(first) == encode(second)
    assert encode(first) != encode(invoice())


def test_amounts_are_stored_as_text() -> None:
    assert b'"total":"0.10"' in encode(invoice())


@pytest.mark.parametrize("body", [b'{"id": "1"}', b'{"id": 1}', b"[]"])
def test_a_body_of_another_type_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode("invoice", body)


def test_every_data_type_has_a_name_for_people() -> None:
    assert set(DATA_TYPE_NAMES) == set(RECORD_TYPES)


def test_a_simulator_stands_in_for_every_host() -> None:
    assert MANIFEST.base_url("api", "production") == "https://api.sample.example"
    assert MANIFEST.base_url("api", "production", simulator="http://127.0.0.1:9/") == "http://127.0.0.1:9"


def test_a_signature_by_any_current_secret_is_accepted() -> None:
    body, signature = b'{"a":1}', _signature("current", b'{"a":1}')
    assert signed_base64(body, ["next", "current"], signature)
    assert signed_base64(body, ["current"], f" {signature}\n")


@pytest.mark.parametrize("secrets", [[], [""], ["other"]])
def test_a_signature_by_no_current_secret_is_refused(secrets: list[str]) -> None:
    assert not signed_base64(b"{}", secrets, _signature("current", b"{}"))


def test_an_empty_secret_signs_nothing() -> None:
    assert not signed_base64(b"{}", [""], _signature("", b"{}"))


def test_a_signature_over_other_bytes_is_refused() -> None:
    assert not signed_base64(b'{"a":2}', ["current"], _signature("current", b'{"a":1}'))


@pytest.mark.parametrize("signature", ["", "not base64", "ünïcode"])
def test_an_odd_signature_is_refused(signature: str) -> None:
    assert not signed_base64(b"{}", ["current"], signature)


def _signature(secret: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
