"""Pairing: every shadow posting beside what staff entered in the ledger, each with exactly one verdict. Set-based SQL throughout.

Entries are found by what identifies them, in this order: the same order number or reference and the same amount; the same number;
the same amount and currency within a few days. What is left on our side staff never entered; what is left on theirs is either
entered twice or not explained by any source record.

Most documents share their reference and their amount with one entry. One join, which reads each side once, pairs them, says their
verdicts and sets aside what is left over on either side; the passes that look further see only that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
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
#: For the sums and joins of one comparison; given back with its transaction.
MEMORY = "64MB"


@dataclass(frozen=True)
class PairingResult:
    """How many postings and entries now stand in pairs, and how many pairs are new or different from before."""

    pairs: int
    changed: int


def pair_flow(
    *, flow: Flow, is_final: bool = False, tell: Callable[[int, int], None] = lambda done, total: None
) -> PairingResult:
    """Compare again. Resolutions of pairs that stay the same are kept. Inside the tenant's transaction. `tell` hears how many of our
    documents have their verdict, of how many.

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
        "near": NEAR_DAYS,
        "at": now(),
    }
    with database.cursor() as cursor:
        cursor.execute(_PREPARE)
        extent = _extent(cursor, values)
        total = extent.pop("count")
        tell(0, total)
        values |= extent
        cursor.execute(_PLAIN, values)
        tell(cursor.rowcount, total)
        cursor.execute(_ANALYZE)
        _pair_open(cursor, values)
        cursor.execute(_ALONE, values)
        cursor.execute(_CHOSEN)
        tell(total, total)
        result = _keep(cursor, values)
        cursor.execute("DROP TABLE fresh, open_ours, open_theirs, paired")
    return result


def _extent(cursor: CursorWrapper, values: Mapping[str, Any]) -> dict[str, Any]:
    """How many documents are compared, of which kinds, and the days between which the ledger is looked at. Asked for first: with the
    answers at hand, the database knows how much that will be."""
    cursor.execute(_EXTENT, values)
    kinds = cursor.fetchall()
    first, last = values["from"], values["until"]
    return {
        "count": sum(count for *_, count in kinds),
        "data_types": sorted({data_type for data_type, *_ in kinds}),
        "payments": [data_type for data_type, is_repayment, *_ in kinds if not is_repayment],
        "repayments": [data_type for data_type, is_repayment, *_ in kinds if is_repayment],
        "theirs_from": min([first, *(earliest for *_, earliest, _, _ in kinds)]) - MARGIN,
        "theirs_until": max([last, *(latest for *_, latest, _ in kinds)]) + MARGIN,
    }


def _pair_open(cursor: CursorWrapper, values: Mapping[str, Any]) -> None:
    """A pass pairs what is each other's first choice. Where a document may have several, who lost one to another gets the next."""
    for statement, has_choice in _PASSES:
        is_done = False
        while not is_done:
            cursor.execute(statement, values)
            is_done = not (has_choice and cursor.rowcount)
            cursor.execute("ANALYZE paired")  # it was empty when it was planned for


def _keep(cursor: CursorWrapper, values: Mapping[str, Any]) -> PairingResult:
    """Write what is new or different; a pair that stayed as it was is not touched."""
    cursor.execute(_FORGET, values)
    forgotten = cursor.rowcount
    cursor.execute(_REFRESH, values)
    cursor.execute(_COUNT, values)
    pairs, kept = cursor.fetchone()
    if kept < pairs:  # what was kept is all among the pairs there are now, so where there are as many, none is new
        cursor.execute(_KEEP, values)
    return PairingResult(pairs, max(forgotten, pairs - kept))


# A look at a few thousand rows is enough to plan by. `said` is what the entry of a pair refers to.
_PREPARE = f"""
    SET LOCAL work_mem = '{MEMORY}'; SET LOCAL default_statistics_target = 10;
    CREATE TEMP TABLE open_ours (id bigint, reference_key text, amount numeric, currency text, data_type text, is_repayment boolean,
        number_key text, tax_amount numeric, occurred_on date, party text, ledger_account text) ON COMMIT DROP;
    CREATE TEMP TABLE open_theirs (LIKE open_ours) ON COMMIT DROP;
    CREATE TEMP TABLE paired (ours_id bigint, theirs_id bigint) ON COMMIT DROP;
    CREATE TEMP TABLE fresh (posting_id bigint, entry_id bigint, data_type text, occurred_on date, currency text, verdict text,
        money numeric, differences jsonb, said text, is_repayment boolean) ON COMMIT DROP
"""
_IS_SHADOW = """
    flow_id = %(flow)s AND state = 'shadow' AND action = 'create' AND occurred_on BETWEEN %(ours_from)s AND %(ours_until)s
"""


def _is_repayment(document: str) -> str:
    """Only a payment can be one, and only its document has to be opened to know."""
    return f"(data_type = 'customer_payment' AND coalesce({document}->>'settles', '') = 'credit_note')"


_EXTENT = f"""
    SELECT data_type, {_is_repayment("document")} AS is_repayment, min(occurred_on), max(occurred_on), count(*)
    FROM posting_posting WHERE {_IS_SHADOW} GROUP BY data_type, is_repayment
"""
_SAME = "reference_key, amount, currency, data_type, is_repayment"
_REST = ("number_key", "tax_amount", "occurred_on", "party", "ledger_account")
# Documents that say the same (two equal part payments, say) pair in the order of their days; what has no reference pairs later.
_PLACE = f"""
    CASE WHEN reference_key <> '' THEN row_number() OVER (PARTITION BY {_SAME} ORDER BY occurred_on, id) END AS place
"""
_OURS = f"""
    SELECT *, {_PLACE} FROM (
        SELECT id, data_type, {_is_repayment("document")} AS is_repayment, reference_key, number_key, amount, tax_amount, currency,
            occurred_on, party, ledger_account
        FROM posting_posting WHERE {_IS_SHADOW}
    ) shadow
"""
# Not ours: entries this product wrote itself. Entries paired in another flow stay there.
_THEIRS = f"""
    SELECT *, {_PLACE} FROM (
        SELECT id, data_type, {_is_repayment("body")} AS is_repayment, reference_key, number_key, amount,
            coalesce(tax_amount, 0) AS tax_amount, currency, occurred_on, party, ledger_account
        FROM sync_record record
        WHERE connection_id = %(target)s AND data_type = ANY(%(data_types)s) AND NOT is_deleted
            AND occurred_on BETWEEN %(theirs_from)s AND %(theirs_until)s AND coalesce(body->>'status', '') <> 'void'
            AND NOT EXISTS (SELECT FROM posting_posting own JOIN mapping_flow other ON other.id = own.flow_id
                WHERE other.target_id = record.connection_id AND own.data_type = record.data_type
                AND own.external_id = record.external_id AND own.state IN ('posted', 'linked', 'reversed'))
            AND NOT EXISTS (SELECT FROM cutover_pair elsewhere WHERE elsewhere.entry_id = record.id
                AND elsewhere.flow_id <> %(flow)s AND elsewhere.posting_id IS NOT NULL)
    ) entered
"""
_ANALYZE = "ANALYZE fresh (posting_id, entry_id, said); ANALYZE open_ours; ANALYZE open_theirs"
# As people read names: without what nobody sees.
_IS_STRANGER = "(ours.party <> theirs.party AND lower(trim(ours.party)) <> lower(trim(theirs.party)))"
# Most pairs are equal in everything: for them this is all that is looked at.
_IS_EQUAL = """
    (ours.currency, ours.amount, ours.tax_amount, ours.occurred_on, ours.ledger_account, ours.party)
    = (theirs.currency, theirs.amount, theirs.tax_amount, theirs.occurred_on, theirs.ledger_account, theirs.party)
"""
_VERDICT = f"""
        CASE
            WHEN {_IS_EQUAL} THEN 'match'
            WHEN ours.currency <> theirs.currency THEN 'currency'
            WHEN abs(ours.amount - theirs.amount) > {TOLERANCE} THEN 'amount'
            WHEN abs(ours.tax_amount - theirs.tax_amount) > {TOLERANCE} THEN 'tax'
            WHEN ours.occurred_on <> theirs.occurred_on THEN
                CASE WHEN to_char(ours.occurred_on, 'YYYYMM') = to_char(theirs.occurred_on, 'YYYYMM') THEN 'date' ELSE 'timing' END
            WHEN ours.ledger_account <> theirs.ledger_account THEN 'ledger_account'
            WHEN {_IS_STRANGER} AND trim(ours.party) <> '' AND trim(theirs.party) <> '' THEN 'party'
            ELSE 'match'
        END AS verdict,
        CASE
            WHEN {_IS_EQUAL} THEN abs(ours.amount)
            WHEN ours.currency <> theirs.currency THEN ours.amount
            WHEN abs(ours.amount - theirs.amount) > {TOLERANCE} THEN abs(ours.amount - theirs.amount)
            WHEN abs(ours.tax_amount - theirs.tax_amount) > {TOLERANCE} THEN abs(ours.tax_amount - theirs.tax_amount)
            ELSE abs(ours.amount)
        END AS money,
        CASE WHEN {_IS_EQUAL} OR ours.id IS NULL OR theirs.id IS NULL
        THEN '[]'::jsonb ELSE to_jsonb(array_remove(ARRAY[
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
            CASE WHEN {_IS_STRANGER} THEN
                jsonb_build_object('field', 'Customer', 'ours', ours.party, 'theirs', theirs.party) END
        ], NULL)) END AS differences
"""


_PLAIN = f"""
    WITH ours AS NOT MATERIALIZED ({_OURS}), theirs AS NOT MATERIALIZED ({_THEIRS}), joined AS MATERIALIZED (
        SELECT ours.id AS posting_id, theirs.id AS entry_id, {_SAME},
            {", ".join(f"coalesce(ours.{name}, theirs.{name}) AS {name}" for name in _REST)}, {_VERDICT}
        FROM ours FULL JOIN theirs USING ({_SAME}, place)
    ), our_rest AS (
        INSERT INTO open_ours SELECT posting_id, {_SAME}, {", ".join(_REST)} FROM joined WHERE entry_id IS NULL
    ), their_rest AS (
        INSERT INTO open_theirs SELECT entry_id, {_SAME}, {", ".join(_REST)} FROM joined WHERE posting_id IS NULL
    )
    INSERT INTO fresh
    SELECT posting_id, entry_id, data_type, occurred_on, currency, verdict, money, differences, reference_key, is_repayment
    FROM joined WHERE posting_id IS NOT NULL AND entry_id IS NOT NULL
"""


def _keys(side: str, keys: Sequence[str]) -> str:
    """What is open on one side, once for each key it has; a key that says the same as the one before it is no other."""
    rest = "id, amount, currency, data_type, is_repayment, occurred_on"
    is_open = f"NOT EXISTS (SELECT FROM paired WHERE {side}_id = open_{side}.id)"
    return " UNION ALL ".join(
        f"SELECT {key} AS key, {rest} FROM open_{side} WHERE {key} <> '' AND {is_open}"
        + (f" AND {key} <> {keys[place - 1]}" if place else "")
        for place, key in enumerate(keys)
    )


def _by_key(*, keys: Sequence[str], same: str, order: str) -> str:
    """Pairs by what identifies both sides. Documents that share it (two equal part payments, say) pair in the given order."""
    return f"""
        WITH our_keys AS MATERIALIZED ({_keys("ours", keys)}), their_keys AS MATERIALIZED ({_keys("theirs", keys)}
        ), our_rank AS (
            SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY {order}) AS place
            FROM our_keys WHERE ({same}) IN (SELECT {same} FROM their_keys)
        ), their_rank AS (
            SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY {order}) AS place
            FROM their_keys WHERE ({same}) IN (SELECT {same} FROM our_keys)
        ), candidates AS (
            SELECT our_rank.id AS ours_id, their_rank.id AS theirs_id
            FROM our_rank JOIN their_rank USING ({same}, place)
        ), ours_once AS (
            SELECT DISTINCT ON (ours_id) ours_id, theirs_id FROM candidates ORDER BY ours_id, theirs_id
        )
        INSERT INTO paired SELECT DISTINCT ON (theirs_id) ours_id, theirs_id FROM ours_once ORDER BY theirs_id, ours_id
    """


_REFERENCE, _ANY = ("reference_key",), ("reference_key", "number_key")
_MONEY = "key, amount, currency, data_type, is_repayment"
_NAME = "key, data_type, is_repayment"
# Without a common number: the same money within a few days, but only where each is the other's nearest, and only for entries
# whose number says nothing else (its key belongs to none of our documents). What is open is few, so it is chosen first: where
# everything costs the same, all documents of a price would otherwise be held against each other.
_BY_AMOUNT = f"""
    WITH left_ours AS MATERIALIZED (
        SELECT * FROM open_ours WHERE NOT EXISTS (SELECT FROM paired WHERE ours_id = open_ours.id)
    ), left_theirs AS MATERIALIZED (
        SELECT * FROM open_theirs WHERE NOT EXISTS (SELECT FROM paired WHERE theirs_id = open_theirs.id)
            AND NOT EXISTS (SELECT FROM fresh WHERE data_type = open_theirs.data_type AND said = open_theirs.reference_key)
            AND NOT EXISTS (SELECT FROM open_ours named WHERE named.data_type = open_theirs.data_type
                AND named.reference_key <> '' AND named.reference_key = open_theirs.reference_key)
    ), candidates AS (
        SELECT ours.id AS ours_id, theirs.id AS theirs_id, abs(ours.occurred_on - theirs.occurred_on) AS apart,
            {_IS_STRANGER}::int AS stranger
        FROM left_ours ours JOIN left_theirs theirs USING (amount, currency, data_type, is_repayment)
        WHERE abs(ours.occurred_on - theirs.occurred_on) <= %(near)s
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY ours_id ORDER BY stranger, apart, theirs_id) AS our_choice,
            row_number() OVER (PARTITION BY theirs_id ORDER BY stranger, apart, ours_id) AS their_choice
        FROM candidates
    )
    INSERT INTO paired SELECT ours_id, theirs_id FROM ranked WHERE our_choice = 1 AND their_choice = 1
"""
# Each with whether a document may have a choice in it.
_PASSES = (
    (_by_key(keys=_ANY, same=_MONEY, order="occurred_on, id"), True),
    (_by_key(keys=_REFERENCE, same=_NAME, order="amount DESC, occurred_on, id"), False),
    (_by_key(keys=_ANY, same=_NAME, order="amount DESC, occurred_on, id"), True),
    (_BY_AMOUNT, True),
)
_CHOSEN = f"""
    INSERT INTO fresh
    SELECT ours.id, theirs.id, ours.data_type, ours.occurred_on, ours.currency, {_VERDICT}, theirs.reference_key, theirs.is_repayment
    FROM paired JOIN open_ours ours ON ours.id = paired.ours_id JOIN open_theirs theirs ON theirs.id = paired.theirs_id
"""
# What stands alone. An entry was entered twice where another one that says the same stands in a pair. Entries without a reference are
# few, and where there are none, the last look at all that stands in pairs is left out.
_SAID, _SOLD = "reference_key, data_type, is_repayment", "name, amount, occurred_on, currency, data_type, is_repayment"
_ALONE = f"""
    WITH lonely AS MATERIALIZED (
        SELECT *, lower(trim(party)) AS name FROM open_theirs
        WHERE NOT EXISTS (SELECT FROM paired WHERE theirs_id = open_theirs.id) AND occurred_on BETWEEN %(from)s AND %(until)s
            AND data_type = ANY(CASE WHEN is_repayment THEN %(repayments)s ELSE %(payments)s END::text[])
    ), said AS MATERIALIZED (
        SELECT DISTINCT {_SAID} FROM lonely WHERE reference_key <> ''
    ), sold AS MATERIALIZED (
        SELECT DISTINCT {_SOLD} FROM lonely WHERE reference_key = ''
    ), chosen AS (
        SELECT open_theirs.* FROM open_theirs JOIN paired ON theirs_id = open_theirs.id
    ), said_twice AS (
        SELECT DISTINCT {_SAID}, true AS is_twice FROM said JOIN (
            SELECT said AS reference_key, data_type, is_repayment FROM fresh UNION ALL SELECT {_SAID} FROM chosen
        ) entered USING ({_SAID})
    ), in_pairs AS (
        SELECT lower(trim(party)) AS name, amount, occurred_on, currency, data_type, {_is_repayment("body")} AS is_repayment
        FROM sync_record WHERE id IN (SELECT entry_id FROM fresh UNION ALL SELECT theirs_id FROM paired)
    ), sold_twice AS (
        SELECT DISTINCT {_SOLD}, true AS is_twice FROM sold JOIN in_pairs USING ({_SOLD}) WHERE (SELECT EXISTS (SELECT FROM sold))
    ), known AS NOT MATERIALIZED (
        SELECT party, ledger_account FROM posting_posting WHERE {_IS_SHADOW}
    )
    INSERT INTO fresh
    SELECT ours.id, NULL, ours.data_type, ours.occurred_on, ours.currency, 'missing_in_theirs', abs(ours.amount), '[]'::jsonb
    FROM open_ours ours WHERE NOT EXISTS (SELECT FROM paired WHERE ours_id = ours.id)
    UNION ALL
    SELECT NULL, theirs.id, theirs.data_type, theirs.occurred_on, theirs.currency,
        CASE WHEN coalesce(CASE WHEN theirs.reference_key <> '' THEN said_twice.is_twice ELSE sold_twice.is_twice END, false)
            THEN 'duplicate_in_theirs' ELSE 'missing_in_ours' END,
        abs(theirs.amount), '[]'::jsonb
    FROM lonely theirs LEFT JOIN said_twice USING ({_SAID}) LEFT JOIN sold_twice USING ({_SOLD})
    WHERE theirs.name IN (SELECT lower(trim(party)) FROM (SELECT DISTINCT party FROM known) parties)
        OR theirs.ledger_account IN (SELECT DISTINCT ledger_account FROM known)
        OR theirs.reference_key IN (SELECT said FROM fresh UNION ALL SELECT reference_key FROM open_ours WHERE reference_key <> '')
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
_COUNT = "SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM cutover_pair WHERE flow_id = %(flow)s)"
_KEEP = f"""
    INSERT INTO cutover_pair (flow_id, posting_id, entry_id, data_type, verdict, occurred_on, money, currency, differences,
        resolution, resolution_reason, paired_at)
    SELECT %(flow)s, posting_id, entry_id, data_type, verdict, occurred_on, money, currency, differences, 'open', '', %(at)s
    FROM fresh WHERE NOT EXISTS (SELECT FROM cutover_pair pair WHERE pair.flow_id = %(flow)s AND {_SAME_PAIR})
    ORDER BY posting_id
"""
