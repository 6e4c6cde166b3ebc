"""Clients of connected organisations."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from django.conf import settings

from connectors.registry import connector
from connectors.sdk.client import Access, Client, Token
from marketplace.core.work import check_lease
from marketplace.installations.budget import SharedBudget
from marketplace.installations.models import Connection
from marketplace.installations.registrations import http_for, simulator_url
from marketplace.installations.vault import ConnectionToken
from tenants.models import Tenant


@contextmanager
def under_lease() -> Iterator[None]:
    """Around each write: a worker that was overtaken while it waited sends nothing. Raises `LeaseLost`."""
    check_lease()
    yield


def budget_of(connection: Connection) -> SharedBudget:
    """What all workers share of the provider's allowance for this connection."""
    is_simulated = connection.environment == Connection.Environment.SIMULATOR
    return SharedBudget(
        manifest=connector(connection.connector).manifest,
        environment=connection.environment,
        organisation_id=connection.organisation_id,
        speed=settings.SIMULATOR_SPEED if is_simulated else 1,
    )


def client_for(
    tenant_id: uuid.UUID,
    connection: Connection,
    *,
    is_ending: bool = False,
    sending: Callable[[], AbstractContextManager[None]] = under_lease,
    owner: Tenant | None = None,
    patience: float | None = None,
    token: Token | None = None,
) -> Client:
    """A client acting for one connection; used outside transactions. Its HTTP connections stay open in this process.
    `is_ending`: for the last calls after a person disconnected. `sending` and `patience`: see `Access`. `owner`: the tenant,
    where it is at hand. `token`: one that is held for several calls, instead of one that is looked at before each."""
    found = connector(connection.connector)
    access = Access(
        token=token or ConnectionToken(tenant_id, connection.pk, is_ending, owner),
        organisation_id=connection.organisation_id,
        environment=connection.environment,
        simulator=simulator_url(connection.connector, connection.environment),
        budget=budget_of(connection),
        sending=sending,
        patience=patience,
        base_currency=connection.base_currency,
    )
    return found.client(access, http_for(connection.connector))
