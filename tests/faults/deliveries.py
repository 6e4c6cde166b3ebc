"""Webhooks as four providers sign them, and as nobody should: each from the scheme's published description, not from our code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from marketplace.installations.registrations import webhook_secrets

ENVIRONMENT = "simulator"


@dataclass(frozen=True)
class Delivery:
    """One request to the endpoint. `key` names its event among those of its organisation."""

    slug: str
    body: bytes
    headers: Mapping[str, str]
    organisation: str = ""
    key: str = ""
    method: str = "POST"
    path: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def address(self) -> str:
        return self.path or f"/webhooks/{self.slug}/{ENVIRONMENT}/"


def secret_of(slug: str) -> str:
    return webhook_secrets(slug, ENVIRONMENT)[0]


def _base64(slug: str, header: str) -> Callable[[bytes, str], dict[str, str]]:
    def headers(body: bytes, secret: str) -> dict[str, str]:
        return {header: base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()}

    return headers


def _stamped(body: bytes, secret: str, stamp: int | None = None) -> dict[str, str]:
    """Stripe signs anew at each attempt."""
    at = int(time.time()) if stamp is None else stamp
    signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={signature}"}


#: How each provider signs: (header, signer).
SIGNERS: dict[str, tuple[str, Callable[[bytes, str], dict[str, str]]]] = {
    "shopify": ("X-Shopify-Hmac-Sha256", _base64("shopify", "X-Shopify-Hmac-Sha256")),
    "xero": ("X-Xero-Signature", _base64("xero", "X-Xero-Signature")),
    "quickbooks": ("Intuit-Signature", _base64("quickbooks", "Intuit-Signature")),
    "stripe": ("Stripe-Signature", _stamped),
}


def signed(delivery: Delivery, secret: str | None = None) -> Delivery:
    """As its sender sends it now, or with another secret."""
    _, sign = SIGNERS[delivery.slug]
    chosen = secret_of(delivery.slug) if secret is None else secret
    return replace(delivery, headers={**delivery.headers, **sign(delivery.body, chosen)})


def event(slug: str, organisation: str, dice: random.Random) -> Delivery:
    """A new event of one organisation, not signed yet."""
    id = str(uuid.UUID(int=dice.getrandbits(128)))
    headers = {"Content-Type": "application/json"}
    body: object
    match slug:
        case "shopify":
            number = dice.randrange(10**12)
            body = {
                "id": number,
                "admin_graphql_api_id": f"gid://shopify/Order/{number}",
                "note": "x" * dice.randrange(2000),
            }
            headers |= {
                "X-Shopify-Topic": dice.choice(["orders/create", "orders/updated"]),
                "X-Shopify-Shop-Domain": organisation,
                "X-Shopify-Webhook-Id": id,
            }
            key = id
        case "xero":
            parts = {"tenantId": organisation, "resourceId": id, "eventType": "UPDATE"}
            parts["eventDateUtc"] = f"2026-10-{dice.randint(1, 28):02}T10:00:00.{dice.randrange(1000):03}"
            body = {"events": [{**parts, "eventCategory": "INVOICE"}], "entropy": id}
            key = ":".join(parts.values())
        case "quickbooks":
            body = [
                {"type": "qbo.invoice.updated.v1", "id": id, "intuitaccountid": organisation,
                 "intuitentityid": str(dice.randrange(10**6)), "time": "2026-10-01T10:00:00.123456789Z"}
            ]  # fmt: skip
            key = id
        case _:
            body = {"id": f"evt_{id}", "object": "event", "type": "charge.updated", "account": organisation,
                    "created": 1790000000, "data": {"object": {"object": "charge", "id": f"ch_{id}"}}}  # fmt: skip
            key = f"evt_{id}"
    return Delivery(slug, json.dumps(body).encode(), headers, organisation, key)


def in_another_envelope(delivery: Delivery) -> Delivery:
    """The same event in a body that is not the same, byte for byte."""
    return replace(delivery, body=delivery.body + b" ")


# --- what nobody may get accepted --------------------------------------------------------------------------------


def _flipped(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :]


def _with_signature(delivery: Delivery, change: Callable[[str], str]) -> Delivery:
    header, _ = SIGNERS[delivery.slug]
    return replace(delivery, headers={**delivery.headers, header: change(delivery.headers[header])})


def _bit_flip(genuine: Delivery, dice: random.Random) -> Delivery:
    return replace(genuine, body=_flipped(genuine.body, dice))


def _cut(genuine: Delivery, dice: random.Random) -> Delivery:
    return replace(genuine, body=genuine.body[: dice.randrange(len(genuine.body))])


def _empty(genuine: Delivery, dice: random.Random) -> Delivery:
    return replace(genuine, body=b"")


def _wrong_secret(genuine: Delivery, dice: random.Random) -> Delivery:
    return signed(genuine, secret=dice.choice(["guessed", secret_of(genuine.slug)[:-1], secret_of(genuine.slug) + "x"]))


def _no_secret(genuine: Delivery, dice: random.Random) -> Delivery:
    return signed(genuine, secret="")


def _anothers_secret(genuine: Delivery, dice: random.Random) -> Delivery:
    return signed(genuine, secret=secret_of(dice.choice([slug for slug in SIGNERS if slug != genuine.slug])))


def _anothers_address(genuine: Delivery, dice: random.Random) -> Delivery:
    """Genuine, but at another provider's door."""
    other = dice.choice([slug for slug in SIGNERS if slug != genuine.slug])
    return replace(genuine, path=f"/webhooks/{other}/{ENVIRONMENT}/")


def _another_environment(genuine: Delivery, dice: random.Random) -> Delivery:
    environment = dice.choice(["staging", "Simulator", "simulator%00", "-", "production/simulator"])
    return replace(genuine, path=f"/webhooks/{genuine.slug}/{environment}/")


def _nobodys_address(genuine: Delivery, dice: random.Random) -> Delivery:
    return replace(genuine, path=dice.choice(["/webhooks/nobody/simulator/", "/webhooks/__init__/simulator/"]))


def _part_of_the_signature(genuine: Delivery, dice: random.Random) -> Delivery:
    """The front of the right one, up to all but its last sign."""
    return _with_signature(genuine, lambda text: text[: dice.randrange(len(text) - 44, len(text) - 1)])


def _more_than_the_signature(genuine: Delivery, dice: random.Random) -> Delivery:
    return _with_signature(genuine, lambda text: text + dice.choice(["A", "=", "\x00", "0" * 5000]))


def _no_signature(genuine: Delivery, dice: random.Random) -> Delivery:
    header, _ = SIGNERS[genuine.slug]
    return replace(genuine, headers={name: value for name, value in genuine.headers.items() if name != header})


def _nonsense_signature(genuine: Delivery, dice: random.Random) -> Delivery:
    given = [
        "",
        " ",
        "null",
        "\x00",
        "é" * 20,
        "t=,v1=",
        f"t={'9' * 6000},v1=00",
        "t=-1,v1=",
        "v1=" * 2000,
        ",",
        "=" * 44,
    ]
    return _with_signature(genuine, lambda _: dice.choice(given))


def _signature_twice(genuine: Delivery, dice: random.Random) -> Delivery:
    """Two headers of one name arrive joined by a comma; a forged body stays forged whatever stands beside its signature."""
    forged = replace(genuine, body=_flipped(genuine.body, dice))
    return _with_signature(forged, lambda text: f"{text},{text}")


def _old_stamp(genuine: Delivery, dice: random.Random) -> Delivery:
    stripe = event("stripe", "acct_forged", dice)
    stamp = int(time.time()) + dice.choice([-1, 1]) * dice.randint(330, 10**6)
    return replace(stripe, headers={**stripe.headers, **_stamped(stripe.body, secret_of("stripe"), stamp)})


def _wrong_scheme(genuine: Delivery, dice: random.Random) -> Delivery:
    stripe = signed(event("stripe", "acct_forged", dice))
    return _with_signature(stripe, lambda text: text.replace("v1=", "v0="))


def _form(genuine: Delivery, dice: random.Random) -> Delivery:
    """JSON said to be a form, and a form said to be JSON: the signature is of neither."""
    body = b"--b\r\nContent-Disposition: form-data; name=payload\r\n\r\n" + genuine.body + b"\r\n--b--\r\n"
    kind = dice.choice(["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "application/json"])
    return replace(genuine, body=body, headers={**genuine.headers, "Content-Type": kind})


def _hostile_body(genuine: Delivery, dice: random.Random) -> Delivery:
    """What would hurt a reader, from somebody who cannot sign."""
    return replace(genuine, body=dice.choice(HOSTILE_BODIES))


def _too_large(genuine: Delivery, dice: random.Random) -> Delivery:
    """Genuine, and larger than anything a provider sends."""
    return signed(replace(genuine, body=b'{"id": 1, "x": "' + b"x" * (1024 * 1024 + dice.randrange(1000)) + b'"}'))


def _other_method(genuine: Delivery, dice: random.Random) -> Delivery:
    return replace(genuine, method=dice.choice(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]))


DEEP = b"[" * 50_000 + b"]" * 50_000
HOSTILE_BODIES = (
    DEEP,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"id": ' + b"9" * 100_000 + b"}",
    b'{"id": 1e999999999}',
    b'{"id": "\\u0000", "events": [{"tenantId": "\\u0000"}]}',
    b'{"id": "\\ud800"}',
    b"\xff\xfe\x00{",
    b"\x00" * 1000,
    b"null",
    b"[]",
    b"[1, 2, 3]",
    b'{"id": {"id": {"id": []}}}',
    b'{"events": "none", "eventNotifications": 7, "object": "event", "account": ["a"], "type": {}}',
    b'{"events": [{"eventCategory": "INVOICE", "tenantId": {}, "resourceId": 5, "eventType": [], "eventDateUtc": "x"}]}',
    b'[{"type": "qbo.invoice.updated.v1", "id": null, "intuitaccountid": [], "intuitentityid": {}, "time": "0001-01-01"}]',
    b'{"id": "' + b"i" * 100_000 + b'"}',
    b"<html></html>",
    b"id=1&x=2",
)
FORGERIES = (
    _bit_flip, _bit_flip, _cut, _empty, _wrong_secret, _no_secret, _anothers_secret, _anothers_address, _another_environment,
    _nobodys_address, _part_of_the_signature, _more_than_the_signature, _no_signature, _nonsense_signature, _signature_twice,
    _old_stamp, _wrong_scheme, _form, _hostile_body, _other_method,
)  # fmt: skip


def forged(organisation: str, dice: random.Random) -> tuple[str, Delivery]:
    """Something that must not be accepted, with the name of what is wrong with it. One in two hundred is too large."""
    make = _too_large if dice.randrange(200) == 0 else dice.choice(FORGERIES)
    genuine = signed(event(dice.choice(list(SIGNERS)), organisation, dice))
    return make.__name__.strip("_"), make(genuine, dice)


def genuine_but_hostile(slug: str, dice: random.Random) -> Delivery:
    """Really signed by the provider, and nothing that anybody could follow."""
    body = dice.choice(HOSTILE_BODIES) + b" " * dice.randrange(200)
    return signed(replace(event(slug, "nobody", dice), body=body, key=""))
