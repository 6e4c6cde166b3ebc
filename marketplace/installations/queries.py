"""Reading a business's connections and what was agreed for them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import QuerySet

from connectors.registry import Connector, connector
from marketplace.core.models import InboxEvent, WorkItem
from marketplace.installations.models import Connection, ConsentEntry
from tenants.context import current_tenant


@dataclass(frozen=True)
class Ending:
    """How far the end of an authorisation has come at the provider."""

    is_done: bool
    problem: str = ""


@dataclass(frozen=True)
class Telling:
    """What the provider's messages of changes have come to. `parked` came after the connection had ended."""

    is_expected: bool
    parked: int


def connection_name(connection: Connection) -> str:
    """The provider, then the organisation: organisations of several providers often have the same name."""
    return f"{connector(connection.connector).manifest.name} ({connection.organisation_name})"


def live_connections() -> QuerySet[Connection]:
    """Those that work or could work again, the ones with a problem first."""
    found = Connection.objects.exclude(state=Connection.State.DISCONNECTED).select_related("installation")
    return found.order_by("-state", "organisation_name")


def live_connections_by_connector() -> dict[str, list[Connection]]:
    by_connector: dict[str, list[Connection]] = defaultdict(list)
    for connection in live_connections():
        by_connector[connection.connector].append(connection)
    return dict(by_connector)


def ended_connections() -> QuerySet[Connection]:
    """Disconnected ones stay for the record."""
    found = Connection.objects.filter(state=Connection.State.DISCONNECTED).select_related("installation")
    return found.order_by("-connected_at")


def consents_of(connection: Connection) -> QuerySet[ConsentEntry]:
    """What was agreed, granted and ended, newest first."""
    return connection.installation.consents.order_by("-at")


def ending_of(connection: Connection) -> Ending:
    """Tokens are destroyed only after the provider has heard; until then the work that tells it is waiting."""
    if connection.sealed_access is None:
        return Ending(is_done=True)
    kinds = ("revoke", "shared")
    work = WorkItem.objects.filter(tenant=current_tenant(), kind__in=kinds, key=str(connection.pk)).first()
    return Ending(is_done=False, problem=work.problem if work else "")


def telling_of(connection: Connection) -> Telling:
    """Whether a provider still sends messages, and what came for an organisation that is no longer connected."""
    parked = InboxEvent.objects.filter(
        connector=connection.connector,
        environment=connection.environment,
        organisation_id=connection.organisation_id,
        state=InboxEvent.State.PARKED,
    )
    return Telling(
        is_expected=connector(connection.connector).webhooks is not None,
        parked=parked.count() if connection.state == Connection.State.DISCONNECTED else 0,
    )


def organisation_choices(organisations: list[dict[str, str]]) -> list[tuple[str, str]]:
    """What a person may choose from, with country and currency to tell namesakes apart."""
    return [(entry["id"], _organisation_label(entry)) for entry in organisations]


def _organisation_label(entry: dict[str, str]) -> str:
    marks = ", ".join(entry[name] for name in ("country", "base_currency") if entry.get(name))
    name = entry["name"] or entry["id"]
    return f"{name} ({marks})" if marks else name


def connection_with(pk: uuid.UUID) -> Connection | None:
    return Connection.objects.select_related("installation__installed_by").filter(pk=pk).first()


def next_reads(found: Connector) -> list[str]:
    """The data types a new connection begins to read, in order."""
    return [stream.data_type for stream in connector(found.slug).streams]
