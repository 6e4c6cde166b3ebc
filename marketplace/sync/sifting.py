"""A page with something in it that PostgreSQL cannot hold, such as an amount of 400 digits: the rest of the page is kept all the same."""

from __future__ import annotations

import uuid
from dataclasses import replace
from zoneinfo import ZoneInfo

from django.db import DataError, transaction

from connectors.sdk.streams import Page, RejectedRow, SourceRecord
from marketplace.core.clock import now
from marketplace.sync.checkpoint import accept_page
from tenants.context import tenant


def without_unstorable(
    tenant_id: uuid.UUID, connection_id: uuid.UUID, data_type: str, page: Page, zone: ZoneInfo
) -> Page:
    """Each record is tried for itself and taken back; those that fail become rejected rows, which people see with the reason."""
    kept: list[SourceRecord] = []
    rejected = list(page.rejected)
    with tenant(tenant_id):
        for source in page.records:
            reason = _reason_against(source, connection_id, data_type, zone)
            if reason is None:
                kept.append(source)
            else:
                rejected.append(RejectedRow(external_id=source.external_id, reason=reason, raw=_body(source)))
    return replace(page, records=tuple(kept), rejected=tuple(rejected))


def _reason_against(source: SourceRecord, connection_id: uuid.UUID, data_type: str, zone: ZoneInfo) -> str | None:
    try:
        with transaction.atomic():
            accept_page(
                connection_id=connection_id,
                records=[source],
                rejected=(),
                data_type=data_type,
                run_id=None,
                zone=zone,
                at=now(),
            )
            transaction.set_rollback(True)
    except DataError as error:
        return f"It holds something that cannot be kept: {str(error).splitlines()[0][:300]}"
    return None


def _body(source: SourceRecord) -> object:
    try:
        return source.raw_body
    except ValueError:
        return source.raw_text
