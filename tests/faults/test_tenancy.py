"""C9: nobody sees, and no work touches, what belongs to another business."""

from __future__ import annotations

import datetime as dt
import logging
import random
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.cache import cache
from django.db import Error, ProgrammingError, connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django import Settings

from marketplace.celery import app
from marketplace.core import work
from marketplace.core.models import WorkItem
from marketplace.core.runtime.logs import JsonFormatter
from marketplace.core.work import claim_work, do_work, handles, request_work
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from marketplace.sync.models import Record
from tenants.choices import FirmRole
from tenants.context import TenantContextError, UnknownTenant, current_tenant
from tenants.context import tenant as tenant_context
from tenants.firms import record
from tenants.models import FirmStaff, Membership, Tenant
from tenants.provisioning import TEMPLATE_SCHEMA
from tenants.roles import drop_schema
from tests.conftest import make_user
from tests.faults.campaign import Size
from tests.faults.furnished import PASTS, ROLES, Business, furnished, models_marked, nothing, texts_of
from tests.tenants.test_access import OURS

pytestmark = pytest.mark.faults

#: Who may open each address of a business at the least. An address that is missing here fails.
LEAST = {
    "viewer": """
        activity api_flows api_outcomes api_postings api_proof catalogue conflict conflicts connected connection connections day failing_messages
        flow flow_move flows home issue issues issues_export listing mapping mapping_versions members missed pair pairs_csv parallel pilot posting
        record records records_export rejected_row rejected_rows remove_member reversal reversal_export reversals runs sandbox scope
        source_of_truth
    """,
    "bookkeeper": """
        add_flow change_scope compare_again decide_issues decide_message decide_source_of_truth discard_reversal flow_choices move_flow new_flow
        new_reversal pause_flow preview_mapping read_lists read_now replan_reversal resolve_pairs restore_mapping resume_flow
        run_sandbox save_mapping take_the_rest
    """,
    "admin": """
        audit_export audit_trail choose_organisation confirm_reversal flow_targets go_live install invite_member leave_firm member reconnect
        uninstall withdraw_invitation
    """,
}
EXPECTED = {name: role for role, names in LEAST.items() for name in names.split()}
#: Addresses outside of any business: what somebody gets who has not signed in.
OUTSIDE = {
    "signed_in": """
        accept_invitation add_firm_staff businesses connect_callback firm firm_trail firm_trail_export give_access new_business new_firm
        remove_firm_staff start take_in_clients
    """,
    "public": "connector_logo healthz invitation letters metrics webhook",
}
ORDER = [role.value for role in ROLES]
NOT_ALLOWED = 405
ITEMS_AT_ONCE = 250
THREADS = 3


def patterns(found: Any = None) -> Iterator[URLPattern]:
    """Every address of ours."""
    for pattern in get_resolver().url_patterns if found is None else found:
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns)
        elif pattern.callback.__module__.startswith(OURS):
            yield pattern


def of_businesses() -> list[URLPattern]:
    return [pattern for pattern in patterns() if "tenant_slug" in pattern.pattern.converters]


def path_of(pattern: URLPattern, slug: str, ids: dict[str, Any]) -> str:
    given: dict[str, Any] = {"slug": "xero", "template_slug": "orders", "to_stage": "pilot"}
    for name, converter in pattern.pattern.converters.items():
        kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
        given[name] = ids.get(name) or given.get(name) or nothing(kind)
    wanted = {name: given[name] for name in pattern.pattern.converters}
    return reverse(str(pattern.name), kwargs=wanted | {"tenant_slug": slug})


@pytest.fixture
def businesses(request: pytest.FixtureRequest, db: None, settings: Settings) -> Iterator[list[Business]]:
    """Their providers are named, and answer to nobody."""
    settings.SIMULATORS = dict.fromkeys(("xero", "shopify"), "http://127.0.0.1:9")
    made = [furnished(name) for name in ("kestrel", "marlow", "osprey")]
    yield made
    if "transactional_db" in request.fixturenames:
        for business in made:
            drop_schema(business.tenant.schema_name)


def test_every_address_has_an_expected_answer() -> None:
    assert {str(pattern.name) for pattern in of_businesses()} == set(EXPECTED)
    outside = {str(pattern.name) for pattern in patterns()} - set(EXPECTED)
    assert outside == {name for names in OUTSIDE.values() for name in names.split()}


@pytest.fixture
def no_lines() -> Iterator[None]:
    """Thousands of refusals need not be written down."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_address_answers_everybody_as_expected(businesses: list[Business], no_lines: None, tell: Any) -> None:
    """All addresses x people x businesses, looking and sending a form; the ids are of nothing, so that nothing is done."""
    stranger = Client()
    stranger.force_login(make_user("Stranger"))
    wrong, tried = [], 0
    for business in businesses:
        people = {person: business.client(person) for person in (*ORDER, *PASTS)}
        others = {other.tenant.slug: other.client("owner") for other in businesses if other is not business}
        for pattern in of_businesses():
            path = path_of(pattern, business.tenant.slug, {})
            for person, client in {**people, **others, "stranger": stranger, "nobody": Client()}.items():
                answers = {client.get(path).status_code, client.post(path).status_code}
                tried += 2
                if not is_expected(pattern, person, answers):
                    wrong.append((person, path, answers))
    assert wrong == []
    tell("C9", "addresses x people x businesses", tried=tried)


def is_expected(pattern: URLPattern, person: str, answers: set[int]) -> bool:
    """An address that takes only one way of being asked may say so before it looks who asks, but not to both."""
    told = answers - {NOT_ALLOWED}
    if not told:
        return False
    if person in ("nobody", "blocked"):
        return told == {401 if str(pattern.name).startswith("api_") else 302}
    if person not in ORDER:
        return told == {404}
    if ORDER.index(person) < ORDER.index(EXPECTED[str(pattern.name)]):
        return told == {403}
    has_ids = any(name.endswith("id") or name in ("number", "slug") for name in pattern.pattern.converters)
    has_ids = has_ids or pattern.name == "new_reversal"  # asks for a flow in its query
    return not told & {401, 403} and max(told) < 500 and (has_ids or 404 not in told)


def test_no_address_fails_where_the_simulators_are_gone(db: None, no_lines: None, settings: Settings) -> None:
    """As when an operator stops offering them: what is there can be looked at, and what needs a provider says why it does not work."""
    settings.SIMULATORS = dict.fromkeys(("xero", "shopify"), "http://127.0.0.1:9")
    business = furnished("kestrel")
    settings.SIMULATORS = {}
    client = business.client("owner")
    client.raise_request_exception = False
    paths = [path_of(pattern, business.tenant.slug, business.ids) for pattern in of_businesses()]
    failing = [path for path in paths if client.get(path).status_code >= 500]
    failing += [path for path in paths if client.post(path).status_code >= 500]
    assert failing == []


@pytest.mark.parametrize(("kind", "status"), [("signed_in", {302}), ("public", {200, 400, 401, 404, 503})])
def test_addresses_outside_of_businesses(kind: str, status: set[int], db: None) -> None:
    for pattern in patterns():
        if str(pattern.name) in OUTSIDE[kind].split():
            given = {
                "slug": "xero",
                "environment": "production",
                "token": "x",
                "invitation_id": 1,
                "firm_id": 1,
                "staff_id": 1,
            }
            path = reverse(str(pattern.name), kwargs={name: given[name] for name in pattern.pattern.converters})
            answers = [Client().get(path), Client().post(path)]
            told = [answer for answer in answers if answer.status_code != NOT_ALLOWED]
            assert told and {answer.status_code for answer in told} <= status, path
            if kind == "signed_in":
                assert all(answer["Location"].startswith("/user/login/?next=") for answer in told)


class Written:
    """Everything that was written while somebody was served."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.handler = logging.Handler(logging.DEBUG)
        self.handler.setFormatter(JsonFormatter())
        self.handler.emit = lambda record: self.lines.append(self.handler.format(record))  # type: ignore[method-assign]

    def take(self) -> str:
        """Log lines and letters since the last time."""
        letters = [f"{letter.subject} {letter.body} {letter.to}" for letter in mail.outbox]
        taken = "\n".join([*self.lines, *letters])
        self.lines.clear()
        mail.outbox.clear()
        return taken


@pytest.fixture
def written() -> Iterator[Written]:
    one, root = Written(), logging.getLogger()
    level = root.level
    root.addHandler(one.handler)
    root.setLevel(logging.DEBUG)
    yield one
    root.removeHandler(one.handler)
    root.setLevel(level)


def foreign(text: str, business: Business, businesses: list[Business]) -> list[str]:
    return [other.mark for other in businesses if other is not business and other.mark in text]


def test_nothing_shown_or_written_holds_a_word_of_another_business(
    businesses: list[Business], written: Written, size: Size, seed: int, tell: Any
) -> None:
    """Pages, exports and the API, served to the three in turns, with their own ids and with those of the others."""
    dice = random.Random(seed)
    found, own = [], Counter[str]()
    visits = [(pattern, *pair) for pattern in of_businesses() for pair in pairs(businesses)]
    visits += dice.choices(visits, k=size.pick(0, 10_000))
    dice.shuffle(visits)
    written.take()
    for pattern, business, other in visits:
        path = path_of(pattern, business.tenant.slug, other.ids)
        answer = business.client(dice.choice(("owner", "owner", "viewer"))).get(path)
        text = f"{answer.headers} {answer.content.decode()} {written.take()} {getattr(cache, '_cache', '')}"
        found += [(path, mark) for mark in foreign(text, business, businesses)]
        own[str(pattern.name)] += business.mark in answer.content.decode()
    assert found == []
    showing = [name for name, count in own.items() if count]
    assert len(showing) > 35, f"hardly a page shows anything: {showing}"
    tell("C9", "pages, exports, API, logs and letters", tried=len(visits))


def of_firms() -> list[URLPattern]:
    return [pattern for pattern in patterns() if "firm_id" in pattern.pattern.converters]


def test_firm_shows_and_changes_nothing_of_another_firm(
    businesses: list[Business], no_lines: None, written: Written, tell: Any
) -> None:
    """Each firm's address to its partner, its staff and to people of the others; the ids in addresses and forms are the others'."""
    wrong, tried = [], 0
    for number, business in enumerate(businesses):
        other = businesses[number - 1]
        firm, theirs = business.tenant.firm, other.tenant.firm
        assert firm and theirs
        partner = make_user(f"partner.{business.mark}")
        FirmStaff.objects.create(firm=firm, user=partner, role=FirmRole.PARTNER)
        record(firm, user=partner, action="client_opened", summary=f"Opened {business.mark}", client=business.tenant)
        foreign_staff = FirmStaff.objects.filter(firm=theirs)[0]
        form = {
            "person": foreign_staff.pk,
            "clients": [other.tenant.pk],
            "email": foreign_staff.user.email,
            "role": "partner",
        }
        form |= {f"{prefix}-{name}": value for prefix in ("access", "take_in") for name, value in form.items()}
        ours, staff, strange = Client(), Client(), Client()
        ours.force_login(partner)
        staff.force_login(business.people["firm"])
        strange.force_login(other.people["firm"])
        written.take()
        for pattern in of_firms():
            given = {"firm_id": firm.pk, "staff_id": foreign_staff.pk}
            path = reverse(str(pattern.name), kwargs={name: given[name] for name in pattern.pattern.converters})
            needs_partner = getattr(pattern.callback, "policy", "") == "firm_partner"
            for client, expected in ((ours, None), (staff, 403 if needs_partner else None), (strange, 404)):
                answers = [client.get(path), client.post(path, form)]
                told = {answer.status_code for answer in answers} - {NOT_ALLOWED}
                text = f"{[answer.content.decode() for answer in answers]} {written.take()}"
                text = text.replace(foreign_staff.user.email, "")  # what was typed is shown once more
                wrong += [(path, mark) for mark in foreign(text, business, businesses) if client is not strange]
                if not told or (expected and told != {expected}) or (not expected and told & {401, 403, 500}):
                    wrong.append((path, str(told)))
                tried += 2
    assert wrong == []
    assert FirmStaff.objects.count() == 2 * len(businesses)
    assert [Tenant.objects.get(pk=one.tenant.pk).firm_id for one in businesses] == [
        one.tenant.firm_id for one in businesses
    ]
    tell("C9", "addresses of firms", tried=tried)


def pairs(businesses: list[Business]) -> list[tuple[Business, Business]]:
    """Whose address, and whose ids: one's own, and another's."""
    return [(one, other) for one in businesses for other in (one, businesses[businesses.index(one) - 1])]


def test_every_text_column_is_marked(businesses: list[Business]) -> None:
    """A canary that is in nothing would never be found."""
    business = businesses[0]
    with tenant_context(business.tenant):
        rows = [
            (model, row) for model in models_marked() if texts_of(model) for row in model._default_manager.all()[:1]
        ]
        bare = [
            (type(row).__name__, name)
            for model, row in rows
            for name in texts_of(model)
            if business.mark not in getattr(row, name)
        ]
    assert bare == []
    assert len(rows) > 8


class Looking:
    """Work that reads what it can see, and fails now and then in the middle of it."""

    def __init__(self, businesses: list[Business], dice: random.Random) -> None:
        self.businesses, self.dice = businesses, dice
        self.runs = self.failed = self.refused = 0
        self.found: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def __call__(self, tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
        try:
            current_tenant()
        except TenantContextError:
            pass
        else:
            self.found.append(("a context was left open", key))
        business = next(one for one in self.businesses if one.tenant.pk == tenant_id)
        _, what, wanted = key.split(":")
        with tenant_context(tenant_id):
            text = f"{list(Record.objects.values('number', 'party', 'raw')[:3])} {list(Flow.objects.values('name'))}"
            with self.lock:
                self.runs += 1
                self.found += [(mark, key) for mark in foreign(text, business, self.businesses)]
                if business.mark not in text:
                    self.found.append(("nothing", key))
                self.failed += what == "fails"
            if what == "fails":
                Flow.objects.update(name="gone wrong")
                raise ValueError(f"in the middle {business.mark}")
            if what == "foreign":
                with self.lock:
                    self.refused += not Connection.objects.filter(pk=wanted).exists()
        return None


def test_work_in_turns_for_three_businesses_stays_apart(
    transactional_db: None,
    businesses: list[Business],
    written: Written,
    size: Size,
    seed: int,
    tell: Any,
    monkeypatch: Any,
) -> None:
    dice = random.Random(seed)
    looking = Looking(businesses, dice)
    handles("looking")(looking)
    monkeypatch.setattr(work, "RETRY_SECONDS", (3600,))
    WorkItem.objects.all().delete()
    items = size.pick(5000, 50_000)
    kinds = dice.choices(("reads", "fails", "foreign"), (80, 10, 10), k=items)
    threads = [threading.Thread(target=work_off) for _ in range(THREADS)]
    for start in range(0, items, ITEMS_AT_ONCE):
        with transaction.atomic():
            for number in range(start, min(items, start + ITEMS_AT_ONCE)):
                one, other = dice.sample(businesses, 2)
                key = f"{number}:{kinds[number]}:{other.ids['connection_id']}"
                request_work(tenant_id=one.tenant.pk, kind="looking", key=key, delay=dt.timedelta(microseconds=1))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert looking.found == []
    assert (looking.runs, looking.failed) == (items, kinds.count("fails"))
    assert looking.refused == kinds.count("foreign")
    assert not any(foreign(problem, *owner) for problem, owner in problems(businesses))
    with tenant_context(businesses[0].tenant):
        assert not Flow.objects.filter(name="gone wrong").exists()
    tell("C9", "work items of three businesses", tried=items, events=looking.runs)


def work_off() -> None:
    try:
        while (claim := claim_work()) is not None:
            do_work(claim)
    finally:
        connection.close()


def problems(businesses: list[Business]) -> Iterator[tuple[str, tuple[Business, list[Business]]]]:
    for business in businesses:
        for problem in WorkItem.objects.filter(tenant=business.tenant).values_list("problem", flat=True):
            yield problem, (business, businesses)


def test_work_without_a_business_is_refused(tenant: Tenant) -> None:
    for unknown in (uuid.UUID(int=4), None):
        with pytest.raises(Error), transaction.atomic():
            request_work(tenant_id=unknown, kind="sync", key="1", delay=dt.timedelta(seconds=1))  # type: ignore[arg-type]
            transaction.get_connection().check_constraints()
    for wrong in (uuid.UUID(int=4), "", "None", "public", "t_kestrel", "kestrel"):
        with pytest.raises(UnknownTenant), tenant_context(wrong):
            pass


@pytest.mark.parametrize(
    "given", [{}, {"tenant_id": None}, {"tenant_id": ""}, {"tenant_id": "public"}, {"tenant": "t_kestrel"}]
)
def test_task_without_a_business_is_refused(given: dict[str, Any]) -> None:
    ran = []

    @app.task(name=f"tests.faults.{uuid.uuid4().hex}")
    def task(**named: Any) -> None:
        ran.append(named)

    for send in (
        task,
        task.delay,
        lambda **named: task.apply_async(kwargs=named),
        lambda **named: task.apply(kwargs=named).get(),
    ):
        with pytest.raises(TenantContextError):
            send(**given)
    assert ran == []


def test_tables_of_a_business_are_an_error_without_one(tenant: Tenant) -> None:
    """In the shared schema, and in one that does not exist: an error, not rows."""
    for schema in ("public", "t_nowhere", '""', "pg_catalog"):
        with pytest.raises(Error), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL search_path = {schema}")
            Record.objects.count()


def test_path_that_was_turned_to_another_business_takes_everything_back(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_context(other_tenant):
        before = Flow.objects.count()
    with pytest.raises(TenantContextError), tenant_context(tenant):
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL search_path = {other_tenant.schema_name}, public")
        Membership.objects.filter(tenant=tenant).update(role="viewer")
    assert not Membership.objects.filter(tenant=tenant, role="viewer").exists()
    with tenant_context(other_tenant):
        assert Flow.objects.count() == before


TURNED = ("SET LOCAL search_path = {other}, public", "SET search_path = {other}, public")
ACTS = (
    "SELECT * FROM {table}",
    "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE {table} SET id = id",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "COPY {table} TO STDOUT",
    "CREATE TABLE {schema}.ours (id int)",
    "SELECT nextval('{table}_id_seq')",
)


def test_rows_of_another_business_are_an_error_at_once(tenant: Tenant, other_tenant: Tenant, tell: Any) -> None:
    """Wherever the path leads, and whatever name is spelt out: nothing of another business is read or written, in the middle of a
    transaction that is never finished."""
    tables = [model._meta.db_table for model in models_marked()]
    tried = 0
    for table in tables:
        for way in TURNED:
            with (
                pytest.raises(ProgrammingError),
                transaction.atomic(),
                tenant_context(tenant),
                connection.cursor() as cursor,
            ):
                cursor.execute(way.format(other=other_tenant.schema_name))
                cursor.execute(f"SELECT * FROM {table}")
            tried += 1
        for schema in (other_tenant.schema_name, TEMPLATE_SCHEMA):
            for act in ACTS:
                denied = pytest.raises(ProgrammingError, match="permission denied for schema")
                with denied, tenant_context(tenant), connection.cursor() as cursor:
                    cursor.execute(act.format(table=f"{schema}.{table}", schema=schema))
                tried += 1
    tell("C9", "tables of other businesses, by path and by name", tried=tried)


def test_role_of_a_business_may_neither_change_tables_nor_make_them(tenant: Tenant) -> None:
    for act in (
        "ALTER TABLE audit_auditentry DISABLE TRIGGER audit_auditentry_append_only",
        "DROP TABLE sync_record",
        "TRUNCATE sync_record",
        "CREATE TABLE more (id int)",
        "CREATE TABLE public.more (id int)",
        "CREATE ROLE other",
        "ALTER TABLE public.tenants_membership ADD COLUMN more int",
    ):
        with pytest.raises(ProgrammingError), tenant_context(tenant), connection.cursor() as cursor:
            cursor.execute(act)


def test_role_that_was_changed_takes_everything_back(tenant: Tenant, other_tenant: Tenant) -> None:
    for role in ("NONE", other_tenant.schema_name):
        with pytest.raises(TenantContextError, match="role"), tenant_context(tenant):
            Membership.objects.filter(tenant=tenant).update(role="viewer")
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL ROLE {role}")
        assert not Membership.objects.filter(tenant=tenant, role="viewer").exists()


def test_path_ends_with_its_transaction(transactional_db: None, tenant: Tenant) -> None:
    """Whoever comes next on the same connection finds nothing of this business, whether it ended well or not."""
    for problem in (None, ValueError("stop")):
        try:
            with tenant_context(tenant):
                Record.objects.count()
                if problem:
                    raise problem
        except ValueError:
            pass
        with pytest.raises(Error):
            Record.objects.count()


def test_removed_member_is_out_at_the_next_request(tenant: Tenant, bob_client: Client, bob: Any) -> None:
    assert bob_client.get("/o/kestrel/").status_code == 200
    Membership.objects.filter(user=bob).delete()
    assert bob_client.get("/o/kestrel/").status_code == 404


BANNED = re.compile(
    r"set_tenant|set_schema|schema_context|search_path|(?i:set (local )?role)|sync_to_async|async def|cache_page|threading\.Thread|ThreadPool"
)


def test_only_the_tenant_context_knows_of_schemas() -> None:
    """Whatever keeps or hands on a schema by other ways than the context loses it sooner or later."""
    found = [
        (path.relative_to(django_settings.BASE_DIR).as_posix(), line.strip())
        for folder in ("marketplace", "tenants")
        for path in sorted(Path(django_settings.BASE_DIR, folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if BANNED.search(line)
    ]
    # The last one only wakes workers, over the broker.
    allowed = (
        "tenants/backend/",
        "tenants/context.py",
        "tenants/provisioning.py",
        "tenants/roles.py",
        "tenants/migrations/",
        "marketplace/core/waking.py",
    )
    assert [place for place in found if not place[0].startswith(allowed)] == []
