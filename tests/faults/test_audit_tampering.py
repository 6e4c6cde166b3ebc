"""C12: whatever the owner of the database does to a trail is found, and nothing else is."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from marketplace.audit import operations
from marketplace.audit.anchors import Anchor, anchors_of, append_anchors
from marketplace.audit.models import AuditEntry
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.faults.campaign import Size
from tests.faults.test_queue import in_threads
from tests.owner import as_owner

pytestmark = pytest.mark.faults

ENTRIES = 30
ANCHORED_EVERY = 6
WRITERS, ACTS_EACH = 8, 15
TEXTS = (
    "",
    "Paused",
    "Gelöscht · 削除",
    "\U0001f4a3\u202e",
    "a|b;c\n\td",
    "{}",
    "null",
    "'; DROP TABLE x; --",
    "x" * 3000,
)
Entries = list[AuditEntry]


class Undone(Exception):
    """Takes a tampering back."""


def act(dice: random.Random, user: User) -> None:
    """Anything an act may be made of, in any mixture."""
    values = (
        None,
        True,
        0,
        -1,
        2**53 + 1,
        10**30,
        0.1,
        1e20,
        1e-9,
        -0.0,
        "text",
        [1, [2.5]],
        {"b": 1, "a": {"z": "", "y": []}},
    )
    details = {
        dice.choice(string.ascii_letters) * dice.randint(1, 3): dice.choice(values) for _ in range(dice.randint(0, 4))
    }
    summary = dice.choice(TEXTS)
    operations.record_act(
        user=dice.choice((user, None)), action="flow.pause", subject=user, summary=summary, details=details
    )


def write_trail(owner: Tenant, user: User, dice: random.Random, entries: int) -> list[Anchor]:
    """A trail with its anchors; the last entry is anchored."""
    for number in range(entries):
        with tenant_context(owner):
            act(dice, user)
        if number % ANCHORED_EVERY == 0 or number == entries - 1:
            append_anchors()
    return anchors_of(owner.pk)


@contextmanager
def with_rights_of_the_owner(tenant: Tenant) -> Iterator[None]:
    """Inside, the trail may be changed; afterwards it is as it was."""
    try:
        with as_owner(tenant) as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE audit_auditentry DISABLE TRIGGER audit_auditentry_append_only")
            yield
            raise Undone
    except Undone:
        return


def put(entries: Entries) -> None:
    """Exactly these, whatever was there."""
    AuditEntry.objects.all().delete()
    AuditEntry.objects.bulk_create(entries)


def renumbered(entries: Entries) -> Entries:
    for number, entry in enumerate(entries, 1):
        entry.sequence = number
    return entries


def chained_anew(entries: Entries) -> Entries:
    """As whoever knows how digests are made would: the chain is whole in itself again."""
    before = ""
    for entry in renumbered(entries):
        entry.previous_digest = before
        before = entry.digest = operations.digest_of(entry)
    return entries


def changed(entry: AuditEntry, dice: random.Random) -> None:
    """One column says something else."""
    column = dice.choice(("at", "actor", "action", "subject_type", "subject_id", "summary", "details", "user_id"))
    if column == "at":
        entry.at = entry.at.replace(year=entry.at.year - 1)
    elif column == "details":
        entry.details = {**entry.details, "amount": "1.00"}
    elif column == "user_id":
        entry.user_id = None if entry.user_id else User.objects.values_list("pk", flat=True)[0]
    else:
        setattr(entry, column, getattr(entry, column) + "x")


def edit(entries: Entries, dice: random.Random) -> Entries:
    changed(dice.choice(entries), dice)
    return entries


def edit_with_its_digest(entries: Entries, dice: random.Random) -> Entries:
    entry = dice.choice(entries)
    changed(entry, dice)
    entry.digest = operations.digest_of(entry)
    return entries


def edit_with_all_digests(entries: Entries, dice: random.Random) -> Entries:
    return chained_anew(edit(entries, dice))


def edit_with_the_link_after_it(entries: Entries, dice: random.Random) -> Entries:
    """Digest and the next entry's link are right again; only the next entry's own digest would tell."""
    place = dice.randrange(len(entries) - 1)
    changed(entries[place], dice)
    entries[place].digest = entries[place + 1].previous_digest = operations.digest_of(entries[place])
    return entries


def insert(entries: Entries, dice: random.Random) -> Entries:
    place = dice.randrange(len(entries))
    forged = AuditEntry(**{field.attname: getattr(entries[place], field.attname) for field in AuditEntry._meta.fields})
    changed(forged, dice)
    return renumbered([*entries[:place], forged, *entries[place:]])


def insert_with_all_digests(entries: Entries, dice: random.Random) -> Entries:
    return chained_anew(insert(entries, dice))


def reorder(entries: Entries, dice: random.Random) -> Entries:
    first, second = dice.sample(range(len(entries)), 2)
    entries[first], entries[second] = entries[second], entries[first]
    return renumbered(entries)


def reorder_with_all_digests(entries: Entries, dice: random.Random) -> Entries:
    return chained_anew(reorder(entries, dice))


def delete(entries: Entries, dice: random.Random) -> Entries:
    del entries[dice.randrange(len(entries) - 1)]
    return entries


def delete_and_renumber(entries: Entries, dice: random.Random) -> Entries:
    return renumbered(delete(entries, dice))


def delete_with_all_digests(entries: Entries, dice: random.Random) -> Entries:
    return chained_anew(delete(entries, dice))


def cut_the_tail(entries: Entries, dice: random.Random) -> Entries:
    return entries[: -dice.randint(1, len(entries) - 1)]


def remove_all(entries: Entries, dice: random.Random) -> Entries:
    return []


def begin_anew(entries: Entries, dice: random.Random) -> Entries:
    """Only what somebody likes is left, as a whole chain of its own."""
    return chained_anew(dice.sample(entries, dice.randint(1, len(entries) - 1)))


TAMPERINGS: tuple[Callable[[Entries, random.Random], Entries], ...] = (
    edit,
    edit_with_its_digest,
    edit_with_all_digests,
    edit_with_the_link_after_it,
    insert,
    insert_with_all_digests,
    reorder,
    reorder_with_all_digests,
    delete,
    delete_and_renumber,
    delete_with_all_digests,
    cut_the_tail,
    remove_all,
    begin_anew,
)


@pytest.fixture
def anchored(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_ANCHORS = tmp_path / "anchors.jsonl"


def is_noticed(tenant: Tenant, anchors: list[Anchor], tampering: Any, dice: random.Random) -> bool:
    with with_rights_of_the_owner(tenant):
        entries = list(AuditEntry.objects.order_by("sequence"))
        put(tampering(entries, dice))
        return bool(operations.verify_trail(anchors))


def test_every_tampering_is_found(
    tenant: Tenant, alice: User, anchored: None, size: Size, seed: int, tell: Any
) -> None:
    dice = random.Random(seed)
    anchors = write_trail(tenant, alice, dice, ENTRIES)
    tried, missed = size.pick(112, 1000), []
    for number in range(tried):
        tampering = TAMPERINGS[number % len(TAMPERINGS)]
        if not is_noticed(tenant, anchors, tampering, dice):
            missed.append(tampering.__name__)
    assert missed == []
    with tenant_context(tenant):
        assert operations.verify_trail(anchors) == []
    tell("C12", "tampering with a trail", tried=tried, events=ENTRIES)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda found: found.__name__)
def test_each_kind_of_tampering_is_found(tampering: Any, tenant: Tenant, alice: User, anchored: None) -> None:
    dice = random.Random(7)
    anchors = write_trail(tenant, alice, dice, 9)
    assert all(is_noticed(tenant, anchors, tampering, dice) for _ in range(3))


def test_trails_nobody_touched_are_whole(
    tenant: Tenant, other_tenant: Tenant, alice: User, anchored: None, size: Size, seed: int, tell: Any
) -> None:
    dice = random.Random(seed)
    tried = size.pick(40, 1000)
    for _ in range(tried):
        owner = dice.choice((tenant, other_tenant))
        anchors = write_trail(owner, alice, dice, dice.randint(1, 3))
        with tenant_context(owner):
            assert operations.verify_trail(anchors) == []
    tell("C12", "trails nobody touched", tried=tried)


def test_writers_side_by_side_never_fork_the_chain(
    transactional_db: None, tenant: Tenant, alice: User, anchored: None, tell: Any
) -> None:
    """A third of them take back what they did, as a transaction that fails does."""
    problems: list[str] = []
    committed: list[int] = []

    def write(number: int) -> Callable[[], None]:
        def run() -> None:
            dice = random.Random(number)
            for position in range(ACTS_EACH):
                try:
                    with tenant_context(tenant):
                        act(dice, alice)
                        if (number + position) % 3 == 0:
                            raise Undone
                    committed.append(number)
                except Undone:
                    continue
                except DatabaseError as error:
                    problems.append(repr(error))

        return run

    threads = [thread for number in range(WRITERS) for thread in in_threads(1, write(number))]
    for thread in threads:
        append_anchors()
        thread.join()
    append_anchors()
    assert problems == []
    anchors = anchors_of(tenant.pk)
    with tenant_context(tenant):
        assert operations.verify_trail(anchors) == []
        assert AuditEntry.objects.count() == len(committed) == WRITERS * ACTS_EACH * 2 // 3
    tell("C12", "acts of writers side by side", tried=WRITERS * ACTS_EACH, events=len(committed))


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_auditentry SET summary = ''", "DELETE FROM audit_auditentry"], ids=["update", "delete"]
)
def test_database_refuses_to_change_an_entry(statement: str, tenant: Tenant) -> None:
    with tenant_context(tenant):
        operations.record_act(user=None, action="flow.pause", subject=None, summary="Paused")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
