"""Sealing again with the current key what an older one sealed, while people work.

Rows are locked by the batch, so that a token that is being refreshed is never put back to what it was. It can be stopped and run
again: what the current key sealed already is passed over.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import QuerySet

from marketplace.core.models import ConsentState, WebhookDelivery
from marketplace.installations.inbox import body_of, is_sealed, seal_body
from marketplace.installations.models import Connection
from marketplace.installations.vault import UnableToOpen, is_current, open_sealed, seal
from tenants.context import tenant
from tenants.mfa import SealedMFAAdapter, UnableToOpenSecondFactor
from tenants.models import Tenant

log = logging.getLogger(__name__)

BATCH = 200


@dataclass(frozen=True)
class Rotation:
    """How many rows were sealed again, and how many hold something that no key of ours opens."""

    resealed: int = 0
    unreadable: int = 0

    def __add__(self, other: Rotation) -> Rotation:
        return Rotation(self.resealed + other.resealed, self.unreadable + other.unreadable)


def reseal_connections() -> Rotation:
    """The tokens of every tenant, one tenant after the other."""
    done = Rotation()
    for owner_id in list(Tenant.objects.values_list("pk", flat=True)):
        done += _walk(Connection.objects.all(), partial(tenant, owner_id), partial(_reseal_connection, owner_id))
    return done


def reseal_consents() -> Rotation:
    """Consents under way."""
    return _walk(ConsentState.objects.all(), transaction.atomic, _reseal_consent)


def reseal_second_factors() -> Rotation:
    """People's authenticator apps and recovery codes."""
    return _walk(Authenticator.objects.all(), transaction.atomic, _reseal_factor)


def reseal_deliveries() -> Rotation:
    """What webhooks brought. A body from before bodies were sealed is sealed now."""
    return _walk(WebhookDelivery.objects.defer("headers"), transaction.atomic, _reseal_delivery)


def _walk(
    rows: QuerySet[Any], unit: Callable[[], AbstractContextManager[Any]], reseal: Callable[[Any], bool]
) -> Rotation:
    """Every row in order of its key, a batch per transaction."""
    done, batch = Rotation(), list[Any]()
    while True:
        with unit():
            later = rows.filter(pk__gt=batch[-1].pk) if batch else rows
            batch = list(later.select_for_update().order_by("pk")[:BATCH])
            for row in batch:
                done += _counted(row, reseal)
        if len(batch) < BATCH:
            return done


def _counted(row: Any, reseal: Callable[[Any], bool]) -> Rotation:
    try:
        return Rotation(resealed=int(reseal(row)))
    except (UnableToOpen, UnableToOpenSecondFactor):
        log.warning("no key of ours opens what is sealed in %s %s", row._meta.label_lower, row.pk)
        return Rotation(unreadable=1)


def _reseal_connection(tenant_id: uuid.UUID, row: Connection) -> bool:
    return _reseal(row, tenant_id, {"sealed_access": "access", "sealed_refresh": "refresh"})


def _reseal_consent(row: ConsentState) -> bool:
    return _reseal(row, row.tenant_id, {"sealed_verifier": "verifier", "sealed_tokens": "tokens"})


def _reseal(row: Connection | ConsentState, tenant_id: uuid.UUID, columns: Mapping[str, str]) -> bool:
    """Whether anything had to be sealed again; `columns` maps a column to the name of the field it seals."""
    stale = {column: field for column, field in columns.items() if not is_current(getattr(row, column))}
    for column, field in stale.items():
        text = open_sealed(getattr(row, column), tenant_id=tenant_id, row=str(row.pk), field=field)
        setattr(row, column, seal(text, tenant_id=tenant_id, row=str(row.pk), field=field))
    row.save(update_fields=list(stale))
    return bool(stale)


def _reseal_delivery(row: WebhookDelivery) -> bool:
    if is_current(row.sealed_body):
        return False
    body = body_of(row) if is_sealed(row.sealed_body) else bytes(row.sealed_body)
    row.sealed_body = seal_body(body, connector=row.connector, environment=row.environment, digest=row.digest)
    row.save(update_fields=["sealed_body"])
    return True


def _reseal_factor(row: Authenticator) -> bool:
    """`secret` is an authenticator app's, `seed` that of recovery codes."""
    adapter = SealedMFAAdapter()
    fresh = {name: adapter.resealed(row.data[name]) for name in ("secret", "seed") if name in row.data}
    is_stale = any(row.data[name] != text for name, text in fresh.items())
    if is_stale:
        row.data |= fresh
        row.save(update_fields=["data"])
    return is_stale
