"""Webhooks: is it genuine, whose is it, what changed. Nothing here fetches or stores."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from connectors.sdk.client import Client


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """One change the provider tells us of. `organisation_id` routes it; the object's current state is fetched afterwards.

    `event_id` is the provider's own, or empty: then the body's digest stands in. `kind` `revoked` means the organisation
    ended the connection at the provider's side.
    """

    event_id: str
    organisation_id: str
    data_type: str
    external_id: str
    kind: str = "changed"  # changed | deleted | revoked
    occurred_at: dt.datetime | None = None


class Webhooks(ABC):
    """One provider's webhook scheme. Header names arrive in lower case.

    `data_types` are those the provider tells every change of; what a regular check finds of them was missed.
    """

    data_types: ClassVar[frozenset[str]]

    @abstractmethod
    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        """Whether any current secret signed these raw bytes. No secret: never genuine."""

    @abstractmethod
    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        """The events of a genuine delivery, those we do not follow left out. Raises ValueError on a body that is not theirs."""

    def subscribe(self, client: Client, url: str) -> int:
        """Register `url` for one connection, idempotently; answers how many registrations were missing. Providers registered
        once for the whole connector do nothing."""
        return 0

    def unsubscribe(self, client: Client, url: str) -> None:  # noqa: B027 -- a hook with nothing to do by default
        """Take the registration back; a registration already gone is fine."""


def signed_base64(body: bytes, secrets: Sequence[str], signature: str) -> bool:
    """HMAC-SHA256 of the raw body in base64, compared in constant time with what each current secret makes of it."""
    given = signature.strip().encode()
    return any(
        hmac.compare_digest(base64.b64encode(hmac.digest(secret.encode(), body, "sha256")), given)
        for secret in secrets
        if secret
    )
