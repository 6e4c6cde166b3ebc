"""Counts what waits in a business, for the switcher and for pages about several businesses."""

from __future__ import annotations

from django.db import connection as database

from marketplace.mapping.models import Stage
from tenants.models import Tenant


def refresh_summary(owner: Tenant) -> None:
    """One statement, inside the tenant's context. Money is what waits in the business's own currency."""
    with database.cursor() as cursor:
        cursor.execute(
            _REFRESH,
            {"tenant": owner.pk, "currency": owner.base_currency, "stages": list(Stage.values)},
        )


# By the database's clock: of two that count at the same time, the later one is right, whatever their hosts' clocks say.
_REFRESH = """
    INSERT INTO public.core_tenantsummary AS summary
        (tenant_id, waiting_count, waiting_amount, broken_connections, furthest_stage, updated_at)
    SELECT %(tenant)s, waiting.count, waiting.amount, broken.count, coalesce(furthest.stage, ''), statement_timestamp()
    FROM (SELECT count(*), coalesce(sum(amount) FILTER (WHERE currency = %(currency)s), 0) AS amount
            FROM posting_recordoutcome WHERE state IN ('held', 'failed')) waiting,
        (SELECT count(*) FROM installations_connection WHERE state = 'needs_reconnect') broken,
        (SELECT (SELECT stage FROM mapping_flow ORDER BY array_position(%(stages)s::text[], stage::text) DESC LIMIT 1) AS stage) furthest
    ON CONFLICT (tenant_id) DO UPDATE SET waiting_count = excluded.waiting_count, waiting_amount = excluded.waiting_amount,
        broken_connections = excluded.broken_connections, furthest_stage = excluded.furthest_stage,
        updated_at = excluded.updated_at
    WHERE summary.updated_at <= excluded.updated_at
"""
