"""Pairing: every shadow posting beside what staff entered in the ledger, each with exactly one verdict. Set-based SQL throughout.

Entries are found by what identifies them, in this order: the same order number or reference and the same amount; the same number;
the same amount and currency within a few days. What is left on our side staff never entered; what is left on theirs is either
entered twice or not explained by any source record.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection as database
from django.db.backends.utils import CursorWrapper

from marketplace.core.clock import now
from marketplace.mapping.models import Flow

#: How far outside the period staff's entries are looked for: a sale of the 31st booked on the 3rd is timing, not missing.
MARGIN = dt.timedelta(days=40)
#: Amounts this close are equal: one cent.
TOLERANCE = "0.01"
NEAR_DAYS = 5


@dataclass(frozen=True)
class PairingResult:
    """How many postings and entries now stand in pairs, and how many pairs are new or different from before."""

    pairs: int
    changed: int


def pair_flow(*, flow: Flow, is_final: bool = False) -> PairingResult:
    """Compare again. Resolutions of pairs that stay the same are kept. Inside the tenant's transaction.

    The final comparison, on going live, covers every shadow posting, also those dated outside the agreed period: whatever staff
    entered must be found before we begin to write.
    """
    if flow.parallel_from is None or flow.parallel_until is None:
        return PairingResult(0, 0)
    values: dict[str, Any] = {
        "flow": flow.pk,
        "target": flow.target_id,
        "from": flow.parallel_from,
        "until": flow.parallel_until,
        "ours_from": dt.date(1900, 1, 1) if is_final else flow.parallel_from,
        "ours_until": dt.date(2999, 12, 31) if is_final else flow.parallel_until,
        "margin": MARGIN,
        "near": NEAR_DAYS,
        "at": now(),
    }
    with database.cursor() as cursor:
        for statement in (_OURS, _THEIRS, _PAIRED):
            cursor.execute(statement, values)
        for statement in _PASSES:
            _repeat(cursor, statement, values)
            cursor.execute("ANALYZE paired")  # it was empty when it was planned for
        cursor.execute(_FRESH, values)
        cursor.execute(_FORGET, values)
        forgotten = cursor.rowcount
        cursor.execute(_REFRESH, values)
        cursor.execute(_KEEP, values)
        added = cursor.rowcount
        cursor.execute("SELECT count(*) FROM fresh")
        total = cursor.fetchone()[0]
        cursor.execute("DROP TABLE ours, theirs, paired, fresh")
    return PairingResult(total, max(forgotten, added))


def _repeat(cursor: CursorWrapper, statement: str, values: Mapping[str, Any]) -> None:
    """A pass pairs what is each other's first choice; who lost a first choice to another gets the next one."""
    while True:
        cursor.execute(statement, values)
        if not cursor.rowcount:
            return


def _key(*expressions: str) -> str:
    """What identifies a document in a reference somebody typed: its digits when it ends in a number, else its letters and digits."""
    cleaned = [f"upper(regexp_replace({text}, '[^0-9A-Za-z]', '', 'g'))" for text in expressions]
    keys = [
        f"CASE WHEN {text} ~ '^[A-Z]*[0-9]{{3,}}$' THEN substring({text} FROM '[0-9]+$') ELSE {text} END"
        for text in cleaned
    ]
    return ", ".join(keys)


_OURS = f"""
    CREATE TEMP TABLE ours ON COMMIT DROP AS
    SELECT posting.id, posting.data_type, coalesce(posting.document->>'settles', 'invoice') AS settles,
        {_key("coalesce(posting.document->>'reference', '')")} AS reference_key,
        {_key("posting.number")} AS number_key,
        posting.amount, posting.tax_amount, posting.currency, posting.occurred_on, lower(trim(posting.party)) AS party,
        posting.ledger_account
    FROM posting_posting posting
    WHERE posting.flow_id = %(flow)s AND posting.state = 'shadow' AND posting.action = 'create'
        AND posting.occurred_on BETWEEN %(ours_from)s AND %(ours_until)s
"""
# Not ours: entries this product wrote itself. Entries paired in another flow stay there.
_THEIRS = f"""
    CREATE TEMP TABLE theirs ON COMMIT DROP AS
    SELECT record.id, record.data_type, coalesce(record.body->>'settles', 'invoice') AS settles,
        {_key("record.reference")} AS reference_key, {_key("record.number")} AS number_key,
        record.amount, coalesce(record.tax_amount, 0) AS tax_amount, record.currency, record.occurred_on,
        lower(trim(record.party)) AS party, record.ledger_account
    FROM sync_record record
    WHERE record.connection_id = %(target)s AND NOT record.is_deleted AND coalesce(record.body->>'status', '') <> 'void'
        AND record.occurred_on BETWEEN (SELECT least(min(occurred_on), %(from)s) FROM ours) - %(margin)s
            AND (SELECT greatest(max(occurred_on), %(until)s) FROM ours) + %(margin)s
        AND (record.data_type, coalesce(record.body->>'settles', 'invoice')) IN (SELECT DISTINCT data_type, settles FROM ours)
        AND NOT EXISTS (SELECT FROM posting_posting own JOIN mapping_flow other ON other.id = own.flow_id
            WHERE other.target_id = record.connection_id AND own.data_type = record.data_type
            AND own.external_id = record.external_id AND own.state IN ('posted', 'linked', 'reversed'))
        AND NOT EXISTS (SELECT FROM cutover_pair elsewhere WHERE elsewhere.entry_id = record.id
            AND elsewhere.flow_id <> %(flow)s AND elsewhere.posting_id IS NOT NULL)
"""
_PAIRED = """
    CREATE INDEX ON ours (data_type, reference_key);
    CREATE INDEX ON theirs (data_type, reference_key);
    CREATE INDEX ON theirs (data_type, amount, occurred_on);
    ANALYZE ours; ANALYZE theirs;
    CREATE TEMP TABLE paired (ours_id bigint PRIMARY KEY, theirs_id bigint UNIQUE) ON COMMIT DROP
"""


def _by_key(*, columns: str, same: str, order: str) -> str:
    """Pairs by what identifies both sides. Documents that share it (two equal part payments, say) pair in the given order."""
    return f"""
        WITH our_keys AS (
            SELECT DISTINCT id, data_type, settles, key, amount, currency, occurred_on
            FROM ours, LATERAL (VALUES {columns}) AS keys (key)
            WHERE key <> '' AND NOT EXISTS (SELECT FROM paired WHERE ours_id = ours.id)
        ), their_keys AS (
            SELECT DISTINCT id, data_type, settles, key, amount, currency, occurred_on
            FROM theirs, LATERAL (VALUES {columns}) AS keys (key)
            WHERE key <> '' AND NOT EXISTS (SELECT FROM paired WHERE theirs_id = theirs.id)
        ), our_rank AS (
            SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY {order}) AS place FROM our_keys
        ), their_rank AS (
            SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY {order}) AS place FROM their_keys
        ), candidates AS (
            SELECT our_rank.id AS ours_id, their_rank.id AS theirs_id
            FROM our_rank JOIN their_rank USING ({same}, place)
        ), ours_once AS (
            SELECT DISTINCT ON (ours_id) ours_id, theirs_id FROM candidates ORDER BY ours_id, theirs_id
        )
        INSERT INTO paired SELECT DISTINCT ON (theirs_id) ours_id, theirs_id FROM ours_once ORDER BY theirs_id, ours_id
    """


_REFERENCE, _ANY = "(reference_key)", "(reference_key), (number_key)"
_MONEY = "data_type, settles, key, amount, currency"
_NAME = "data_type, settles, key"
# Without a common number: the same money within a few days, but only where each is the other's nearest, and only for entries
# whose number says nothing else (its key belongs to none of our documents). What is open is few, so it is chosen first: where
# everything costs the same, all documents of a price would otherwise be held against each other.
_BY_AMOUNT = """
    WITH open_ours AS MATERIALIZED (
        SELECT * FROM ours WHERE NOT EXISTS (SELECT FROM paired WHERE ours_id = ours.id)
    ), open_theirs AS MATERIALIZED (
        SELECT * FROM theirs WHERE NOT EXISTS (SELECT FROM paired WHERE theirs_id = theirs.id)
            AND NOT EXISTS (SELECT FROM ours named WHERE named.data_type = theirs.data_type
                AND named.reference_key <> '' AND named.reference_key = theirs.reference_key)
    ), candidates AS (
        SELECT ours.id AS ours_id, theirs.id AS theirs_id, abs(ours.occurred_on - theirs.occurred_on) AS apart,
            (ours.party <> theirs.party)::int AS stranger
        FROM open_ours ours JOIN open_theirs theirs USING (data_type, settles, amount, currency)
        WHERE abs(ours.occurred_on - theirs.occurred_on) <= %(near)s
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY ours_id ORDER BY stranger, apart, theirs_id) AS our_choice,
            row_number() OVER (PARTITION BY theirs_id ORDER BY stranger, apart, ours_id) AS their_choice
        FROM candidates
    )
    INSERT INTO paired SELECT ours_id, theirs_id FROM ranked WHERE our_choice = 1 AND their_choice = 1
"""
_PASSES = (
    _by_key(columns=_REFERENCE, same=_MONEY, order="occurred_on, id"),
    _by_key(columns=_ANY, same=_MONEY, order="occurred_on, id"),
    _by_key(columns=_REFERENCE, same=_NAME, order="amount DESC, occurred_on, id"),
    _by_key(columns=_ANY, same=_NAME, order="amount DESC, occurred_on, id"),
    _BY_AMOUNT,
)
_FRESH = f"""
    CREATE TEMP TABLE fresh ON COMMIT DROP AS
    SELECT ours.id AS posting_id, theirs.id AS entry_id, ours.data_type, ours.occurred_on, ours.currency,
        CASE
            WHEN ours.currency <> theirs.currency THEN 'currency'
            WHEN abs(ours.amount - theirs.amount) > {TOLERANCE} THEN 'amount'
            WHEN abs(ours.tax_amount - theirs.tax_amount) > {TOLERANCE} THEN 'tax'
            WHEN date_trunc('month', ours.occurred_on) <> date_trunc('month', theirs.occurred_on) THEN 'timing'
            WHEN ours.occurred_on <> theirs.occurred_on THEN 'date'
            WHEN ours.ledger_account <> theirs.ledger_account THEN 'ledger_account'
            WHEN ours.party <> theirs.party AND ours.party <> '' AND theirs.party <> '' THEN 'party'
            ELSE 'match'
        END AS verdict,
        CASE
            WHEN ours.currency <> theirs.currency THEN ours.amount
            WHEN abs(ours.amount - theirs.amount) > {TOLERANCE} THEN abs(ours.amount - theirs.amount)
            WHEN abs(ours.tax_amount - theirs.tax_amount) > {TOLERANCE} THEN abs(ours.tax_amount - theirs.tax_amount)
            ELSE abs(ours.amount)
        END AS money,
        to_jsonb(array_remove(ARRAY[
            CASE WHEN ours.currency <> theirs.currency THEN
                jsonb_build_object('field', 'Currency', 'ours', ours.currency, 'theirs', theirs.currency) END,
            CASE WHEN ours.amount <> theirs.amount THEN
                jsonb_build_object('field', 'Amount', 'ours', round(ours.amount, 2)::text, 'theirs', round(theirs.amount, 2)::text) END,
            CASE WHEN ours.tax_amount <> theirs.tax_amount THEN
                jsonb_build_object('field', 'Tax', 'ours', round(ours.tax_amount, 2)::text, 'theirs', round(theirs.tax_amount, 2)::text) END,
            CASE WHEN ours.occurred_on <> theirs.occurred_on THEN
                jsonb_build_object('field', 'Date', 'ours', ours.occurred_on::text, 'theirs', theirs.occurred_on::text) END,
            CASE WHEN ours.ledger_account <> theirs.ledger_account THEN
                jsonb_build_object('field', 'Ledger accounts', 'ours', ours.ledger_account, 'theirs', theirs.ledger_account) END,
            CASE WHEN ours.party <> theirs.party THEN
                jsonb_build_object('field', 'Customer', 'ours', posting.party, 'theirs', record.party) END
        ], NULL)) AS differences
    FROM paired JOIN ours ON ours.id = paired.ours_id JOIN theirs ON theirs.id = paired.theirs_id
        JOIN posting_posting posting ON posting.id = ours.id JOIN sync_record record ON record.id = theirs.id
    UNION ALL
    SELECT ours.id, NULL, ours.data_type, ours.occurred_on, ours.currency, 'missing_in_theirs', abs(ours.amount), '[]'::jsonb
    FROM ours WHERE NOT EXISTS (SELECT FROM paired WHERE ours_id = ours.id)
    UNION ALL
    SELECT NULL, theirs.id, theirs.data_type, theirs.occurred_on, theirs.currency,
        CASE WHEN EXISTS (
            SELECT FROM theirs twin JOIN paired ON paired.theirs_id = twin.id
            WHERE twin.data_type = theirs.data_type AND twin.settles = theirs.settles
                AND theirs.reference_key <> '' AND twin.reference_key = theirs.reference_key
        ) OR EXISTS (
            SELECT FROM theirs twin JOIN paired ON paired.theirs_id = twin.id
            WHERE twin.data_type = theirs.data_type AND twin.settles = theirs.settles
                AND twin.amount = theirs.amount AND twin.currency = theirs.currency AND twin.party = theirs.party
                AND twin.occurred_on = theirs.occurred_on AND theirs.reference_key = ''
        ) THEN 'duplicate_in_theirs' ELSE 'missing_in_ours' END,
        abs(theirs.amount), '[]'::jsonb
    FROM theirs
    WHERE NOT EXISTS (SELECT FROM paired WHERE theirs_id = theirs.id)
        AND theirs.occurred_on BETWEEN %(from)s AND %(until)s
        AND (theirs.party IN (SELECT party FROM ours) OR theirs.ledger_account IN (SELECT ledger_account FROM ours)
            OR theirs.reference_key IN (SELECT reference_key FROM ours WHERE reference_key <> ''))
"""
# A side that is missing is null; as nought it can be looked up, instead of every pair being held against every other.
_SAME_PAIR = "coalesce(fresh.posting_id, 0) = coalesce(pair.posting_id, 0) AND coalesce(fresh.entry_id, 0) = coalesce(pair.entry_id, 0)"
_FORGET = f"""
    DELETE FROM cutover_pair pair WHERE pair.flow_id = %(flow)s AND NOT EXISTS (
        SELECT FROM fresh WHERE {_SAME_PAIR} AND fresh.verdict = pair.verdict AND fresh.money = pair.money)
"""
_REFRESH = f"""
    UPDATE cutover_pair AS pair SET differences = fresh.differences, occurred_on = fresh.occurred_on FROM fresh
    WHERE pair.flow_id = %(flow)s AND {_SAME_PAIR}
        AND (fresh.differences, fresh.occurred_on) IS DISTINCT FROM (pair.differences, pair.occurred_on)
"""
_KEEP = f"""
    INSERT INTO cutover_pair (flow_id, posting_id, entry_id, data_type, verdict, occurred_on, money, currency, differences,
        resolution, resolution_reason, paired_at)
    SELECT %(flow)s, posting_id, entry_id, data_type, verdict, occurred_on, money, currency, differences, 'open', '', %(at)s
    FROM fresh WHERE NOT EXISTS (SELECT FROM cutover_pair pair WHERE pair.flow_id = %(flow)s AND {_SAME_PAIR})
"""
