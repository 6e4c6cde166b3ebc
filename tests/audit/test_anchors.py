"""The heads of the trails, written down outside of the database."""

from __future__ import annotations

import datetime as dt
import html
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from marketplace.audit import tasks
from marketplace.audit.anchors import AnchorsDamaged, anchors_of, append_anchors
from marketplace.audit.operations import record_act, verify_trail
from tenants.context import tenant as tenant_context
from tenants.models import Tenant
from tests.owner import as_owner


@pytest.fixture
def anchors(settings: Settings, tmp_path: Path) -> Path:
    settings.AUDIT_ANCHORS = tmp_path / "outside" / "anchors.jsonl"
    return Path(settings.AUDIT_ANCHORS)


def act(tenant: Tenant, count: int = 1) -> None:
    with tenant_context(tenant):
        for number in range(count):
            record_act(
                user=None, action="flow.pause", subject=None, summary="Paused", details={"rate": 1e20, "n": number}
            )


def cut(tenant: Tenant, after: int) -> None:
    """As the owner of the database could; what is left is a whole chain."""
    with as_owner(tenant) as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_auditentry DISABLE TRIGGER audit_auditentry_append_only")
        cursor.execute("DELETE FROM audit_auditentry WHERE sequence > %s", [after])
        cursor.execute("ALTER TABLE audit_auditentry ENABLE TRIGGER audit_auditentry_append_only")


def broken(tenant: Tenant) -> list[int]:
    found = anchors_of(tenant.pk)
    with tenant_context(tenant):
        return verify_trail(found)


def test_only_trails_that_went_on_are_written_down_again(tenant: Tenant, other_tenant: Tenant, anchors: Path) -> None:
    assert append_anchors() == 0
    act(tenant)
    act(other_tenant, 2)
    assert [append_anchors(), append_anchors()] == [2, 0]
    act(tenant)
    assert append_anchors() == 1
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2]
    assert [anchor.sequence for anchor in anchors_of(other_tenant.pk)] == [2]
    assert broken(tenant) == broken(other_tenant) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keep", [0, 1, 2])
def test_tail_that_is_cut_right_after_an_act_is_missed(
    keep: int, tenant: Tenant, anchors: Path, alice_client: Client
) -> None:
    """No sweep came by: the act itself is written down, before whoever acted sees that it is done."""
    for email in ("dora@example.com", "emil@example.com", "fay@example.com"):
        alice_client.post("/o/kestrel/members/invite/", {"email": email, "role": "viewer"})
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2, 3]
    cut(tenant, after=keep)
    with tenant_context(tenant):
        assert verify_trail() == []
    assert broken(tenant) == list(range(keep + 1, 4))


@pytest.mark.django_db(transaction=True)
def test_act_that_was_taken_back_is_not_written_down(tenant: Tenant, anchors: Path) -> None:
    with pytest.raises(ZeroDivisionError), tenant_context(tenant):
        record_act(user=None, action="flow.pause", subject=None, summary="Paused")
        raise ZeroDivisionError
    assert not anchors.exists()


@pytest.mark.django_db(transaction=True)
def test_sweep_adds_what_could_not_be_written_down(
    tenant: Tenant, other_tenant: Tenant, anchors: Path, caplog: pytest.LogCaptureFixture
) -> None:
    act(tenant)
    assert append_anchors() == 0  # nothing was missed, which it notes once
    size = anchors.stat().st_size
    assert (append_anchors(), anchors.stat().st_size) == (0, size)
    kept = anchors.read_bytes()
    anchors.unlink()
    anchors.mkdir()
    act(tenant)  # stands, whatever becomes of the file
    assert "on_commit" in caplog.text
    anchors.rmdir()
    anchors.write_bytes(kept)
    act(other_tenant)
    assert append_anchors() == 1
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2]
    assert broken(tenant) == broken(other_tenant) == []


def test_nothing_is_written_where_no_file_is_named(tenant: Tenant, settings: Settings) -> None:
    settings.AUDIT_ANCHORS = None
    act(tenant)
    assert append_anchors() == 0
    assert anchors_of(tenant.pk) == []


def test_trail_that_was_cut_no_longer_leads_to_its_anchor(tenant: Tenant, anchors: Path) -> None:
    act(tenant, 3)
    append_anchors()
    cut(tenant, after=2)
    with tenant_context(tenant):
        assert verify_trail() == []
    assert broken(tenant) == [3]
    cut(tenant, after=0)
    assert broken(tenant) == [3]


def test_command_and_nightly_check_name_the_trail(
    tenant: Tenant, other_tenant: Tenant, anchors: Path, caplog: pytest.LogCaptureFixture
) -> None:
    act(tenant, 3)
    tasks.anchor()
    call_command("verify_trails")
    cut(tenant, after=2)
    with pytest.raises(CommandError, match=r"^kestrel: not whole at 3$"):
        call_command("verify_trails")
    caplog.clear()
    tasks.verify()
    assert [record.getMessage() for record in caplog.records] == ["audit trail: kestrel: not whole at 3"]


def test_page_says_what_it_compared_with(tenant: Tenant, anchors: Path, alice_client: Client) -> None:
    def page() -> str:
        return html.unescape(alice_client.get("/o/kestrel/audit/?check=1").content.decode())

    act(tenant, 2)
    assert "outside of the database" not in page()
    append_anchors()
    assert "It leads through 1 point written down outside of the database, the last at entry 2." in page()
    anchors.write_bytes(anchors.read_bytes().replace(b'"at": "2', b'"at": "1'))
    assert "The chain cannot be compared" in page()
    cut(tenant, after=1)
    assert "The chain is whole in itself" in page()


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(line), **values}, sort_keys=True).encode() + b"\n"


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("kind", ["changed", "deleted", "twice", "swapped", "nonsense", "resigned"])
def test_file_that_was_changed_is_noticed(kind: str, position: int, tenant: Tenant, anchors: Path) -> None:
    for _ in range(4):
        act(tenant)
        append_anchors()
    lines = anchors.read_bytes().splitlines(keepends=True)
    one, after = lines[position], lines[position + 1]
    lines[position : position + 2] = {
        "changed": [changed(one, heads={str(tenant.pk): [1, "0" * 64]}), after],
        "deleted": [after],
        "twice": [one, one, after],
        "swapped": [after, one],
        "nonsense": [b"{}\n", after],
        "resigned": [changed(one, signature="0" * 64), after],
    }[kind]
    anchors.write_bytes(b"".join(lines))
    with pytest.raises(AnchorsDamaged):
        anchors_of(tenant.pk)


def test_line_somebody_else_appended_is_noticed(tenant: Tenant, anchors: Path, settings: Settings) -> None:
    act(tenant)
    append_anchors()
    own = settings.TIEOUT_KEK
    settings.TIEOUT_KEK = bytes(32)
    act(tenant)
    append_anchors()
    settings.TIEOUT_KEK = own
    with pytest.raises(AnchorsDamaged, match="no key of ours"):
        anchors_of(tenant.pk)


def test_lines_of_a_key_that_was_replaced_are_vouched_for_by_later_ones(
    tenant: Tenant, anchors: Path, settings: Settings
) -> None:
    act(tenant)
    append_anchors()
    settings.TIEOUT_KEK = bytes(32)
    act(tenant)
    append_anchors()
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2]


def test_last_line_is_found_however_long_it_is(tenant: Tenant, anchors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.audit.anchors.TAIL_BYTES", 16)
    for _ in range(3):
        act(tenant)
        append_anchors()
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2, 3]


@pytest.fixture
def months(tenant: Tenant, anchors: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of three months in which the tenant acted; the clock of one host was late in the last of them."""
    for at in (
        "2026-09-30T12:00",
        "2026-10-01T12:00",
        "2026-10-31T12:00",
        "2026-12-01T00:10",
        "2026-11-30T23:50",
        "2026-12-02T12:00",
    ):
        instant = dt.datetime.fromisoformat(f"{at}:00+00:00")
        monkeypatch.setattr("marketplace.audit.anchors.now", lambda instant=instant: instant)
        monkeypatch.setattr("marketplace.audit.operations.now", lambda instant=instant: instant)
        act(tenant)
        append_anchors()
    return [anchors, anchors.with_name("anchors.2026-10.jsonl"), anchors.with_name("anchors.2026-12.jsonl")]


def test_every_month_has_a_file_and_all_are_one_chain(tenant: Tenant, anchors: Path, months: list[Path]) -> None:
    assert sorted(anchors.parent.iterdir()) == sorted(months)
    assert [len(path.read_bytes().splitlines()) for path in months] == [1, 2, 3]
    assert [anchor.sequence for anchor in anchors_of(tenant.pk)] == [1, 2, 3, 4, 5, 6]
    (anchors.parent / "anchors.2026-10.jsonl.gz").write_bytes(b"a copy that somebody packed")
    assert broken(tenant) == []
    cut(tenant, after=1)
    assert broken(tenant) == [2, 3, 4, 5, 6]


def test_month_begins_with_where_every_trail_stands(
    tenant: Tenant, other_tenant: Tenant, anchors: Path, months: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    act(other_tenant)
    assert append_anchors() == 1
    monkeypatch.setattr("marketplace.audit.anchors.now", lambda: dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    act(tenant)
    assert [append_anchors(), append_anchors()] == [2, 0]
    assert len((anchors.parent / "anchors.2027-01.jsonl").read_bytes().splitlines()) == 1


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", ["gone", "emptied", "shortened", "changed"])
def test_file_of_an_earlier_month_that_was_touched_is_noticed(
    kind: str, number: int, tenant: Tenant, months: list[Path]
) -> None:
    path = months[number]
    lines = path.read_bytes().splitlines(keepends=True)
    if kind == "gone":
        path.unlink()
    else:
        last = changed(lines[-1], at="2026-10-30T12:00:00+00:00")
        left = {"emptied": [], "shortened": lines[:-1], "changed": [*lines[:-1], last]}[kind]
        path.write_bytes(b"".join(left))
    with pytest.raises(AnchorsDamaged, match=r"anchors\.2026-1[02]\.jsonl"):
        anchors_of(tenant.pk)
