"""What must be kept stays in the vault: no token, key or password is in anything that is written."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import redis
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings as django_settings
from django.core import mail
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from connectors.registry import connectors
from connectors.sdk.errors import ConnectorError
from connectors.testing.faults import Fault
from marketplace.core.runtime.logs import JsonFormatter
from marketplace.core.work import claim_work, do_work
from marketplace.installations.models import Connection
from marketplace.installations.vault import ConnectionToken, stored_tokens
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tenants.operations import invite_member
from tests.conftest import PASSWORD
from tests.faults.furnished import furnished
from tests.installations.conftest import served, simulators, walk  # noqa: F401 -- fixtures
from tests.installations.walking import Walk

pytestmark = pytest.mark.faults

PAGES = (
    "",
    "connections/",
    "catalogue/",
    "audit/",
    "audit/?check=1",
    "audit/export.csv",
    "members/",
    "activity/",
    "runs/",
    "flows/",
)
TROUBLE = ("status", "html", "drop_before", "half_body")


class Lines(logging.Handler):
    """Log lines as they leave, at the lowest level there is."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, handler = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def statements(transactional_db: None) -> Iterator[Lines]:
    """What the server is sent, and so what it shows of what it is doing."""
    database.force_debug_cursor = True
    logger, handler = logging.getLogger("django.db.backends"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    database.force_debug_cursor = False
    logger.removeHandler(handler)
    logger.setLevel(level)


class Shown:
    """What the server shows of a session to whoever may look at it: the statement it is at, or the last one."""

    def __init__(self, watcher: psycopg.Connection[Any]) -> None:
        self.watcher = watcher
        self.texts: set[str] = set()

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.look()
        return result

    def look(self) -> None:
        pid = database.connection.info.backend_pid
        rows = self.watcher.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid])
        self.texts |= {text for (text,) in rows}


@pytest.fixture
def shown(db: None) -> Iterator[Shown]:
    given = database.get_connection_params()
    named = {key: given[key] for key in ("host", "port", "user", "password") if given.get(key)}
    with psycopg.connect(dbname="postgres", autocommit=True, **named) as watcher:
        yield Shown(watcher)


def test_no_payload_is_in_what_the_server_shows_of_its_work(
    shown: Shown, settings: Any, client: Client, tell: Any
) -> None:
    """People, records, mappings, documents, pairs, acts and webhooks, each written as the product writes it."""
    settings.SIMULATORS = dict.fromkeys(("xero", "shopify"), "http://127.0.0.1:9")
    with database.execute_wrapper(shown):
        business = furnished("kestrel")
        body = json.dumps({"id": 1, "note": business.mark}).encode()
        secret = settings.CONNECTOR_CREDENTIALS["shopify"]["client_secret"].encode()
        signature = base64.b64encode(hmac.digest(secret, body, "sha256")).decode()
        headers = {
            "x-shopify-hmac-sha256": signature,
            "x-shopify-shop-domain": f"{business.mark}.myshopify.com",
            "x-shopify-topic": "orders/updated",
            "x-shopify-webhook-id": business.mark,
        }
        path = "/webhooks/shopify/simulator/"
        assert client.post(path, body, content_type="application/json", headers=headers).status_code == 200
        shown.look()  # the inbox is written below Django's cursors
    assert any("core_webhookdelivery" in text for text in shown.texts)
    assert len([text for text in shown.texts if "INSERT INTO" in text]) > 20
    assert [text for text in shown.texts if business.mark in text] == []
    tell("C9", "payloads in what the server shows of its work", tried=len(shown.texts))


class Secrets:
    """Everything nobody may read, by what it is."""

    def __init__(self, owner: Tenant) -> None:
        self.owner = owner
        self.found: dict[str, str] = {"password": PASSWORD, "secret key": django_settings.SECRET_KEY}
        self.found["KEK"] = base64.urlsafe_b64encode(django_settings.TIEOUT_KEK).decode()
        for slug, keys in django_settings.CONNECTOR_CREDENTIALS.items():
            self.found |= {f"{slug} {name}": keys[name] for name in ("client_secret", "webhook_secret") if keys[name]}

    def note_tokens(self) -> None:
        with tenant_context(self.owner):
            for row in Connection.objects.exclude(sealed_access=None):
                tokens = stored_tokens(row, tenant_id=self.owner.pk)
                version = f"{row.connector} {row.token_version}"
                self.found |= {f"access {version}": tokens.access_token, f"refresh {version}": tokens.refresh_token}

    def within(self, places: Mapping[str, str], *, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        wanted = {name: value for name, value in self.found.items() if value and name not in but}
        return [
            (place, name)
            for place, text in places.items()
            for name, value in wanted.items()
            if any(form in text for form in (value, value.encode().hex(), base64.b64encode(value.encode()).decode()))
        ]


def dump() -> str:
    """Every table of every schema, as a backup holds it."""
    given = database.settings_dict
    command = [str(django_settings.PG_DUMP), "--host", given["HOST"], "--username", given["USER"], given["NAME"]]
    if given["PORT"]:
        command += ["--port", str(given["PORT"])]
    environment = {"PGPASSWORD": given["PASSWORD"]} if given["PASSWORD"] else {}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def messages() -> str:
    with redis.Redis.from_url(django_settings.REDIS_URL) as broker:
        return str(broker.lrange("celery", 0, -1))


def live_through(walk: Callable[..., Walk], owner: Tenant, secrets: Secrets) -> None:  # noqa: F811
    """Connecting, refreshing, being refused, in trouble, and leaving, at every provider."""
    for slug in sorted(connectors()):
        person = walk(slug)
        params = person.decide(person.agree())
        secrets.found |= {f"{slug} code": params["code"], f"{slug} state": params["state"]}
        answer = person.come_back(params)
        person.come_back(params)
        person.come_back({**params, "state": params["state"][:-1] + "x"})
        if "/connections/choose/" in answer["Location"]:
            answer = person.client.post(answer["Location"], {"organisation": person.first_organisation})
        connection = person.connection_at(answer["Location"])
        secrets.note_tokens()
        refresh(person, ConnectionToken(owner.pk, connection.pk), connection)
        secrets.note_tokens()
        person.client.post(f"/o/kestrel/connections/{connection.pk}/uninstall/", {"confirm": "on"})


def refresh(person: Walk, token: ConnectionToken, connection: Connection) -> None:
    path = person.simulator.oauth_rules.token_path
    for kind in TROUBLE:
        with tenant_context(person.tenant):
            Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() - timedelta(days=1))
        person.simulator.faults.add(Fault(match=f"POST {path}", kind=kind))  # type: ignore[arg-type]
        for ask in (token.current, token.current, lambda: token.renew(token.current())):
            try:
                ask()
            except ConnectorError as error:
                logging.getLogger("marketplace").exception("in trouble: %r %s", error, error.detail)
        person.simulator.faults.clear()


def work_off() -> None:
    while (claim := claim_work()) is not None:
        do_work(claim)


def test_no_secret_is_in_anything_that_is_written(
    walk: Callable[..., Walk],  # noqa: F811
    tenant: Tenant,
    alice: User,
    alice_client: Client,
    lines: Lines,
    statements: Lines,
    tell: Any,
) -> None:
    secrets = Secrets(tenant)
    live_through(walk, tenant, secrets)
    secrets.found["totp"] = "JBSWY3DPEHPK3PXP"
    TOTP.activate(alice, secrets.found["totp"])
    codes = RecoveryCodes.activate(alice).get_unused_codes()
    secrets.found |= {f"recovery code {code}": code for code in codes}
    owner = Membership.objects.select_related("user", "tenant").get(user=alice)
    _, secrets.found["invitation"] = invite_member(actor=owner, email="dora@example.com", role=Role.VIEWER)
    work_off()
    secrets.note_tokens()
    shown = {f"page {page}": alice_client.get(f"/o/kestrel/{page}").content.decode() for page in PAGES}
    letters = {"letters": "\n".join(f"{letter.subject} {letter.body}" for letter in mail.outbox)}
    assert len(secrets.found) > 40
    backup = dump()
    assert "dora@example.com" in backup
    assert "in trouble" in lines.text
    assert "installations_connection" in statements.text
    written = {"backup": backup, "logs": lines.text, "statements": statements.text, "messages": messages(), **shown}
    assert secrets.within(written) == []
    assert secrets.within(letters, but=("invitation",)) == []
    tell("C9", "secrets in backups, logs, statements, messages, pages", tried=len(secrets.found) * len(written))
