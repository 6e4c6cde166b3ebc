"""Flows, mapping versions, scopes and the source of truth: every change is one transaction with its audit entry."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.registry import connector
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.work import request_work
from marketplace.installations.models import Connection
from marketplace.mapping.compiling import compile_spec
from marketplace.mapping.models import Flow, MappingVersion, SourceOfTruth, Stage
from marketplace.mapping.options import options_of
from marketplace.mapping.pairs import can_run
from marketplace.mapping.signals import mapping_saved, rules_changed
from marketplace.mapping.suggestions import Suggester, completed
from marketplace.mapping.templates import template
from tenants.context import current_tenant, tenant
from tenants.models import User

#: Outcomes held for these reasons may go through with a new mapping.
CURED_BY_MAPPING = ("unmapped", "archived_account", "account_currency", "not_computed", "does_not_add_up")
LIST_TYPES = ("company", "ledger_account", "tax_rate")


class UnableToAddFlow(Exception):
    """This flow cannot be added; the message says why."""


class UnableToSaveScope(Exception):
    """The scope is not this flow's to have now."""


def create_flow(*, slug: str, source: Connection, target: Connection, start_date: dt.date, user: User) -> Flow:
    """A flow on the step before the staircase, with version 1 of its mapping made from suggestions. Raises `UnableToAddFlow`."""
    chosen = template(slug)
    if not can_run(chosen, source, target):
        raise UnableToAddFlow(f"{chosen.name} cannot run from {source} to {target}.")
    with tenant(current_tenant()):
        if Flow.objects.filter(template=slug, source=source, target=target).exists():
            raise UnableToAddFlow(f"{chosen.name} from {source} to {target} exists already.")
        flow = Flow.objects.create(
            template=slug,
            name=chosen.name,
            source=source,
            target=target,
            start_date=start_date,
            created_by=user,
            created_at=now(),
        )
        _add_version(flow, suggested_spec(flow), "Suggested", user)
        record_act(
            user=user,
            action="flow.created",
            subject=flow,
            summary=f"Added the flow {flow.name} from {source} to {target}, from {start_date:%-d %B %Y} on",
        )
    return flow


def suggested_spec(flow: Flow) -> dict[str, Any]:
    """A whole mapping of what would most likely be chosen; required fields may still be open."""
    chosen = template(flow.template)
    manifest = connector(flow.source.connector).manifest
    return completed(chosen, Suggester(chosen=chosen, source=manifest, options=options_of(flow)).entries())


def save_mapping(*, flow: Flow, spec: Mapping[str, Any], comment: str, user: User) -> MappingVersion:
    """A new version, or the current one when nothing changed. Raises `MappingError` for a mapping that does not compile."""
    chosen = template(flow.template)
    whole = completed(chosen, spec["fields"])
    compile_spec(chosen, whole)
    with tenant(current_tenant()):
        locked = Flow.objects.select_for_update().get(pk=flow.pk)
        current = locked.mapping
        if current is not None and current.digest == digest_of(whole):
            return current
        version = _add_version(locked, whole, comment, user)
        record_act(
            user=user,
            action="mapping.saved",
            subject=locked,
            summary=f"Saved version {version.number} of the field mapping of {locked.name}",
            details={"version": version.number, "comment": comment},
        )
        mapping_saved.send(sender=None, flow_id=locked.pk, reason_codes=CURED_BY_MAPPING)
    return version


def restore_version(*, flow: Flow, version: MappingVersion, user: User) -> MappingVersion:
    """An older version's choices as the newest version. Raises `MappingError`."""
    return save_mapping(flow=flow, spec=version.spec, comment=f"Version {version.number} restored", user=user)


def _add_version(flow: Flow, spec: dict[str, Any], comment: str, user: User) -> MappingVersion:
    latest = flow.mapping_versions.first()
    version = MappingVersion.objects.create(
        flow=flow,
        number=latest.number + 1 if latest else 1,
        spec=spec,
        digest=digest_of(spec),
        comment=comment,
        created_by=user,
        created_at=now(),
    )
    flow.mapping = version
    flow.save(update_fields=["mapping"])
    return version


def digest_of(spec: Mapping[str, Any]) -> str:
    """Equal choices give equal digests, in whatever order they were made."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def ask_for_lists(*, flow: Flow) -> int:
    """Read the target's ledger accounts and tax rates again. Returns how many lists will be read."""
    asked = [found.data_type for found in connector(flow.target.connector).streams if found.data_type in LIST_TYPES]
    for data_type in asked:
        request_work(tenant_id=current_tenant().pk, kind="sync", key=f"{flow.target_id}:{data_type}")
    return len(asked)


def save_scope(*, flow: Flow, scope: Sequence[Mapping[str, str]], user: User) -> None:
    """The pilot's filter. Raises `UnableToSaveScope`."""
    with tenant(current_tenant()):
        locked = Flow.objects.select_for_update().get(pk=flow.pk)
        if locked.stage in (Stage.PARALLEL, Stage.LIVE):
            raise UnableToSaveScope("The pilot is over: all records of the source are in scope now.")
        if locked.scope == list(scope):
            return
        locked.scope = list(scope)
        locked.save(update_fields=["scope"])
        record_act(
            user=user,
            action="flow.scope_saved",
            subject=locked,
            summary=f"Changed the pilot's scope of {locked.name} to {len(scope)} conditions",
            details={"scope": list(scope)},
        )
        rules_changed.send(sender=None, flow_ids={locked.pk}, reason_codes=("outside_pilot",))


def decide_source_of_truth(
    *, data_type: str, owner: Connection, rule: str, field_owners: Mapping[str, str], user: User
) -> bool:
    """Which connection wins for a data type. Returns whether that changed anything."""
    with tenant(current_tenant()):
        known = SourceOfTruth.objects.select_for_update().filter(pk=data_type).first()
        decided = (owner.pk, rule, dict(field_owners))
        if known is not None and (known.owner_id, known.rule, known.field_owners) == decided:
            return False
        SourceOfTruth.objects.update_or_create(
            data_type=data_type,
            defaults={
                "owner": owner,
                "rule": rule,
                "field_owners": dict(field_owners),
                "decided_by": user,
                "decided_at": now(),
            },
        )
        record_act(
            user=user,
            action="source_of_truth.decided",
            subject=owner,
            summary=f"{owner} is the source of truth for {data_type.replace('_', ' ')}s",
            details={"data_type": data_type, "rule": rule, "field_owners": dict(field_owners)},
        )
        flows = [flow.pk for flow in Flow.objects.all() if template(flow.template).source_type == data_type]
        rules_changed.send(sender=None, flow_ids=set(flows), reason_codes=("not_source_of_truth", "conflict"))
    return True
