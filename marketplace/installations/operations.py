"""Install with consent, connect, reconnect, uninstall. HTTP to the provider happens outside transactions.

A consent under way is one row: one use, ten minutes, bound to person, tenant, connector version and browser session. The provider's
answer is believed only through it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection as database
from django.db import transaction

from connectors.registry import Connector, connector
from connectors.sdk.errors import ConnectorError
from connectors.sdk.oauth import Organisation, TokenSet, new_verifier
from marketplace.audit.operations import record_act
from marketplace.catalogue.queries import purpose_of, scopes_in_words
from marketplace.core.clock import now, shared_now
from marketplace.core.models import ConsentState, WebhookRoute
from marketplace.core.work import request_work, tell_worker
from marketplace.installations.models import Connection, ConsentEntry, Installation
from marketplace.installations.registrations import is_offered, oauth_for
from marketplace.installations.vault import open_sealed, seal, store_tokens
from tenants.choices import Role
from tenants.context import current_tenant, tenant
from tenants.models import User
from tenants.queries import live_membership

STATE_LIFETIME = dt.timedelta(minutes=10)
DURATION = "Until you disconnect it here or at the provider."


class UnableToConnect(Exception):
    """The consent cannot go on; the message says what to do. `state` is set once it is known to be this person's own."""

    def __init__(self, message: str, state: ConsentState | None = None) -> None:
        super().__init__(message)
        self.state = state


class ConsentDenied(UnableToConnect):
    """The person said no at the provider."""


class UnableToInstall(Exception):
    """A setting is missing or wrong; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Consent:
    """A consent under way after the callback: what may be chosen."""

    state: ConsentState
    organisations: list[Organisation]


def install_connector(*, found: Connector, typed: Mapping[str, str], user: User) -> Installation:
    """One installation per connector: installing again goes on with the one that is there. Raises `UnableToInstall`."""
    values = {setting.name: typed.get(setting.name, "").strip() for setting in found.manifest.settings}
    for setting in found.manifest.settings:
        if setting.pattern and not re.fullmatch(setting.pattern, values[setting.name]):
            raise UnableToInstall(setting.name, f"{setting.label} looks like {setting.example}.")
    known = Installation.objects.filter(connector=found.slug, uninstalled_at=None, settings=values).first()
    if known is not None:
        return known
    installation = Installation.objects.create(
        connector=found.slug,
        connector_version=found.manifest.version,
        settings=values,
        installed_by=user,
        installed_at=now(),
    )
    name = found.manifest.name
    record_act(user=user, action="connector.install", subject=installation, summary=f"Installed {name}", details=values)
    return installation


def start_consent(
    *,
    installation: Installation,
    environment: str,
    user: User,
    session_key: str,
    redirect_uri: str,
    connection: Connection | None = None,
) -> str:
    """Record what was agreed to on our page, and answer where to send the person. `connection` is set when reconnecting. Raises
    `UnableToConnect`."""
    found = connector(installation.connector)
    _refuse_unoffered(found, environment)
    owner = current_tenant()
    state, verifier = secrets.token_urlsafe(32), new_verifier()
    # Tokens of consents that nobody finished must not outlive them.
    at = shared_now()
    ConsentState.objects.filter(expires_at__lt=at).exclude(sealed_tokens=None).update(sealed_tokens=None)
    _record_consent(installation, ConsentEntry.Kind.AGREED, user)
    row_id = uuid.uuid4()
    ConsentState.objects.create(
        id=row_id,
        state_digest=_digest(state),
        user=user,
        tenant=owner,
        session_digest=_digest(session_key),
        connector=found.slug,
        connector_version=found.manifest.version,
        environment=environment,
        installation_id=installation.pk,
        connection_id=connection.pk if connection else None,
        redirect_uri=redirect_uri,
        sealed_verifier=seal(verifier, tenant_id=owner.pk, row=str(row_id), field="verifier"),
        created_at=at,
        expires_at=at + STATE_LIFETIME,
    )
    oauth = oauth_for(found.slug, environment, installation.settings, connection)
    return oauth.authorize_url(redirect_uri=redirect_uri, state=state, verifier=verifier)


def _refuse_unoffered(found: Connector, environment: str, state: ConsentState | None = None) -> None:
    if is_offered(found.slug, environment):
        return
    what = "simulator of" if environment == Connection.Environment.SIMULATOR else "registration at"
    raise UnableToConnect(
        f"This server has no {what} {found.manifest.name} any more, so no consent can be given. Ask whoever runs it to set it up again.",
        state,
    )


def finish_consent(*, slug: str, params: Mapping[str, str], user: User, session_key: str) -> Consent:
    """The provider sent the person back. Outside any tenant context. Raises `UnableToConnect`, `ConsentDenied`."""
    state = _take_state(slug, params.get("state", ""), user, session_key)
    with tenant(state.tenant_id):
        installation = Installation.objects.get(pk=state.installation_id)
    if "error" in params or not params.get("code"):
        raise _refusal(state, installation, params.get("error", ""), user)
    _refuse_unoffered(connector(slug), state.environment, state)
    oauth = oauth_for(slug, state.environment, installation.settings)
    verifier = open_sealed(state.sealed_verifier, tenant_id=state.tenant_id, row=str(state.pk), field="verifier")
    try:
        oauth.check_issuer(params)
        oauth.check_callback(params)
        tokens = oauth.exchange(params, redirect_uri=state.redirect_uri, verifier=verifier)
        organisations = oauth.organisations(tokens, params)
    except ConnectorError as error:
        raise UnableToConnect(error.user_message, state) from error
    if not organisations:
        raise UnableToConnect("The provider named no organisation to connect. Start again and choose one there.", state)
    _keep_tokens(state, tokens, organisations)
    return Consent(state, organisations)


def _refusal(state: ConsentState, installation: Installation, code: str, user: User) -> UnableToConnect:
    """What the provider sent instead of a code, recorded and in words."""
    name = connector(installation.connector).manifest.name
    if code not in ("", "access_denied"):
        reason = code if re.fullmatch(r"[a-z_]{1,40}", code) else "an unknown error"
        return UnableToConnect(f"{name} could not finish the consent ({reason}). Start connecting again.", state)
    with tenant(state.tenant_id):
        _record_consent(installation, ConsentEntry.Kind.DENIED, user)
        summary = f"Permission for {name} was not given"
        record_act(user=user, action="connection.denied", subject=installation, summary=summary)
    return ConsentDenied(f"{name} was not connected: the permission was not given.", state)


def _take_state(slug: str, given: str, user: User, session_key: str) -> ConsentState:
    """The one use of a state. Everything about it must be right; what is wrong is not told apart to a stranger."""
    with transaction.atomic():
        states = ConsentState.objects.select_for_update(of=("self",)).select_related("tenant")
        state = states.filter(state_digest=_digest(given)).first()
        is_ours = (
            state is not None
            and state.user_id == user.pk
            and state.connector == slug
            and state.connector_version == connector(slug).manifest.version
            and secrets.compare_digest(state.session_digest, _digest(session_key))
        )
        if state is None or not is_ours:
            raise UnableToConnect("This answer does not belong to a connection you started in this browser.")
        if state.used_at is not None:
            raise UnableToConnect("This consent was used already. Start again if you need another connection.", state)
        state.used_at = now()
        state.save(update_fields=["used_at"])
    if state.expires_at < shared_now():
        raise UnableToConnect("More than ten minutes went by at the provider. Start connecting again.", state)
    membership = live_membership(user=user, tenant_slug=state.tenant.slug)
    if membership is None or not membership.may(Role.ADMIN):
        raise UnableToConnect("You may no longer connect systems for this business. Ask its owner or an admin.")
    return state


def _keep_tokens(state: ConsentState, tokens: TokenSet, organisations: Sequence[Organisation]) -> None:
    """Between the callback and the choice, sealed; they die with the state."""
    body = msgspec.json.encode(
        {
            "access_token": tokens.access_token,
            "expires_in": tokens.expires_in,
            "refresh_token": tokens.refresh_token,
            "scopes": tokens.scopes,
        }
    ).decode()
    state.sealed_tokens = seal(body, tenant_id=state.tenant_id, row=str(state.pk), field="tokens")
    state.organisations = [msgspec.to_builtins(organisation) for organisation in organisations]
    state.save(update_fields=["sealed_tokens", "organisations"])


def waiting_consent(*, state_id: uuid.UUID, user: User) -> ConsentState:
    """A consent that waits for the choice of the organisation; only its own person may go on. Raises `UnableToConnect`."""
    state = ConsentState.objects.filter(pk=state_id, user=user, tenant=current_tenant()).first()
    if state is None or state.sealed_tokens is None or state.expires_at < shared_now():
        raise UnableToConnect("This choice is no longer open. Start connecting again.")
    return state


def choose_organisation(*, state: ConsentState, organisation_id: str, user: User) -> Connection:
    """Connect the chosen organisation, or renew the connection that is being reconnected. Raises `UnableToConnect`."""
    owner = current_tenant()
    state = ConsentState.objects.select_for_update().get(pk=state.pk)
    if state.sealed_tokens is None:
        raise UnableToConnect("This choice was made already.", state)
    offered = {entry["id"]: entry for entry in state.organisations or []}
    chosen = offered.get(organisation_id)
    if chosen is None:
        raise UnableToConnect("Choose one of the organisations you gave access to.", state)
    tokens = _kept_tokens(state)
    installation = Installation.objects.get(pk=state.installation_id)
    connection = _connection_for(state, installation, chosen)
    connection.organisation_name = chosen["name"] or organisation_id
    connection.base_currency = chosen.get("base_currency", "")
    connection.country = chosen.get("country", "")
    connection.state, connection.problem = Connection.State.CONNECTED, ""
    store_tokens(connection, tokens, tenant_id=owner.pk)
    _record_consent(installation, ConsentEntry.Kind.GRANTED, user, organisation=connection.organisation_name)
    record_act(
        user=user,
        action="connection.reconnect" if state.connection_id else "connection.connect",
        subject=connection,
        summary=f"Connected {connection.organisation_name} at {connector(connection.connector).manifest.name}",
        details={"environment": connection.environment, "scopes": connection.scopes},
    )
    ConsentState.objects.filter(pk=state.pk).update(sealed_tokens=None)
    _start(connection)
    return connection


def _kept_tokens(state: ConsentState) -> TokenSet:
    body: dict[str, Any] = msgspec.json.decode(
        open_sealed(state.sealed_tokens, tenant_id=state.tenant_id, row=str(state.pk), field="tokens")
    )
    return TokenSet(**{**body, "scopes": tuple(body["scopes"])})


def _connection_for(state: ConsentState, installation: Installation, chosen: Mapping[str, Any]) -> Connection:
    rows = Connection.objects.select_for_update()
    if state.connection_id:
        return _same_organisation(state, rows.get(pk=state.connection_id), chosen)
    same = {
        "connector": installation.connector,
        "environment": state.environment,
        "organisation_id": chosen["id"],
    }
    known = rows.filter(**same).exclude(state=Connection.State.DISCONNECTED).first()
    return known or Connection(installation=installation, connected_at=now(), **same)


def _same_organisation(state: ConsentState, known: Connection, chosen: Mapping[str, Any]) -> Connection:
    """Reconnecting keeps the row, so it must be for the organisation whose records and postings hang on it."""
    if known.state == Connection.State.DISCONNECTED:
        raise UnableToConnect(f"{known.organisation_name} was disconnected meanwhile. Connect it anew.", state)
    if known.organisation_id != chosen["id"]:
        raise UnableToConnect(
            f"This connection belongs to {known.organisation_name}; you chose {chosen['name']}. Reconnect with "
            f"{known.organisation_name}, or connect {chosen['name']} as a new connection.",
            state,
        )
    return known


def note_registration(*, connection: Connection, missing: int) -> None:
    """The provider tells us of changes now. Where it had stopped doing so, what it did not tell of is read."""
    checked_at = now()
    known = Connection.objects.filter(pk=connection.pk)
    known.update(webhooks_checked_at=checked_at)
    release_parked(connection)
    if missing and connection.webhooks_checked_at is not None:
        known.update(webhooks_renewed_at=checked_at)
        name = connector(connection.connector).manifest.name
        summary = f"{name} had stopped telling of changes of {connection.organisation_name}; asked again, and reading everything"
        record_act(user=None, action="connection.webhooks_renewed", subject=connection, summary=summary)
        _ask_to_read(connection)


def release_parked(connection: Connection) -> int:
    """Events that came before anybody had this organisation connected are followed now; answers how many. What told of the end of an
    earlier consent says nothing about this one."""
    owner = current_tenant()
    with database.cursor() as cursor:
        cursor.execute(
            _RELEASE,
            {
                "connector": connection.connector,
                "environment": connection.environment,
                "organisation": connection.organisation_id,
                "tenant": owner.pk,
                "connection": connection.pk,
            },
        )
        count = int(cursor.rowcount)
    if count:
        request_work(tenant_id=owner.pk, kind="events", key=str(connection.pk))
    return count


_RELEASE = """
    WITH released AS (
        UPDATE public.core_inboxevent SET state = 'routed',
            reason = CASE WHEN kind = 'revoked' THEN 'It told of the end of an earlier consent.' ELSE '' END
        WHERE connector = %(connector)s AND environment = %(environment)s AND organisation_id = %(organisation)s
            AND state = 'parked'
        RETURNING id, kind
    )
    INSERT INTO public.core_eventcopy (event_id, tenant_id, connection_id)
    SELECT id, %(tenant)s, %(connection)s FROM released WHERE kind <> 'revoked'
    ON CONFLICT DO NOTHING
"""


def _start(connection: Connection) -> None:
    """From here on its events are ours, its webhooks are asked for and its data is read."""
    owner = current_tenant()
    WebhookRoute.objects.get_or_create(
        connector=connection.connector,
        environment=connection.environment,
        organisation_id=connection.organisation_id,
        tenant=owner,
        connection_id=connection.pk,
    )
    release_parked(connection)
    request_work(tenant_id=owner.pk, kind="events", key=str(connection.pk))  # those that waited for the reconnection
    request_work(tenant_id=owner.pk, kind="subscribe", key=str(connection.pk))
    _ask_to_read(connection)


def _ask_to_read(connection: Connection) -> None:
    owner = current_tenant()
    for stream in connector(connection.connector).streams:
        if not stream.carried_by:
            request_work(tenant_id=owner.pk, kind="sync", key=f"{connection.pk}:{stream.data_type}")


def uninstall(*, connection: Connection, user: User) -> dict[str, str]:
    """Stop, end the authorisation, say what stays. The provider is told by the work queue, and again until it has heard."""
    owner = current_tenant()
    _lock_organisation(connection)
    WebhookRoute.objects.filter(tenant=owner, connection_id=connection.pk).delete()
    is_shared = WebhookRoute.objects.filter(
        connector=connection.connector,
        environment=connection.environment,
        organisation_id=connection.organisation_id,
    ).exists()
    written_to = {connection.pk, *connection.flows_out.values_list("target_id", flat=True)}
    paused = connection.flows_out.update(is_paused=True) + connection.flows_in.update(is_paused=True)
    connection.state = Connection.State.DISCONNECTED
    connection.problem = ""
    connection.save(update_fields=["state", "problem"])
    installation = connection.installation
    if not installation.connections.exclude(state=Connection.State.DISCONNECTED).exists():
        installation.uninstalled_at = now()
    name = connector(connection.connector).manifest.name
    report = {
        "Authorisation": "Kept at the provider: another connection to the same organisation is in use."
        if is_shared
        else f"Ends at {name}.",
        "Flows": f"{paused} paused." if paused else "There was none to pause.",
        "Ledger": "Everything posted stays in the ledger.",
        "Here": "Records, postings and the audit trail are kept; tokens are destroyed.",
    }
    installation.uninstall_report = report
    installation.save()
    _record_consent(installation, ConsentEntry.Kind.REVOKED, user, organisation=connection.organisation_name)
    record_act(
        user=user,
        action="connection.uninstall",
        subject=connection,
        summary=f"Disconnected {connection}",
        details=report,
    )
    for ledger in sorted(written_to):
        tell_worker(tenant_id=owner.pk, kind="post", key=str(ledger))
    request_work(tenant_id=owner.pk, kind="shared" if is_shared else "revoke", key=str(connection.pk))
    return report


def _lock_organisation(connection: Connection) -> None:
    """Two tenants who leave one organisation at the same moment: the second sees what the first did, so exactly the last revokes."""
    organisation = f"{connection.connector}:{connection.environment}:{connection.organisation_id}"
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"organisation:{organisation}"])


def destroy_tokens(connection: Connection) -> None:
    """Nothing is left that could act for this connection."""
    Connection.objects.filter(pk=connection.pk).update(sealed_access=None, sealed_refresh=None, token_expires_at=None)


def _record_consent(installation: Installation, kind: str, user: User, organisation: str = "") -> None:
    found = connector(installation.connector)
    ConsentEntry.objects.create(
        installation=installation,
        kind=kind,
        user=user,
        actor=user.full_name or user.email,
        connector_version=found.manifest.version,
        purpose=purpose_of(found),
        data_types=[*found.manifest.reads, *found.manifest.writes],
        scopes=scopes_in_words(found),
        duration=DURATION,
        organisation=organisation,
        at=now(),
    )


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
