"""Whether this database is what became of a backup, and so may have forgotten what was sent after it was taken.

Every running database says where it lives: its cluster, the cluster's timeline and its own number there. A dump that was loaded, and a
backup that was recovered, live elsewhere than the row says that came with them. A copy of files put back in its place cannot be
told from the original: there an operator says so, with the command `after_restore`.
"""

from __future__ import annotations

import datetime as dt

from django.db import connection as database

from marketplace.core.work import repair_ring


def restored_at() -> dt.datetime | None:
    """When it was noticed that this database was restored; None for one that never was."""
    with database.cursor() as cursor:
        cursor.execute(_NOTICE)
        found: dt.datetime | None = cursor.fetchone()[0]
    return found


def note_restoration() -> None:
    """This database was restored just now, whatever it looks like."""
    restored_at()
    with database.cursor() as cursor:
        cursor.execute("UPDATE public.core_databaseorigin SET restored_at = clock_timestamp()")


def begin_all_work_again() -> int:
    """Nobody holds a lease any more, and all work is due: every stream is read from its restored cursor. Returns how much."""
    with database.cursor() as cursor:
        cursor.execute(_BEGIN_AGAIN)
        count = int(cursor.rowcount)
    repair_ring()
    return count


# The row is written when the database moved, which is hardly ever; otherwise it is only read.
_NOTICE = """
    WITH here AS (
        SELECT concat_ws(':', system_identifier, timeline_id, (
            SELECT oid FROM pg_database WHERE datname = current_database())) AS origin
        FROM pg_control_system(), pg_control_checkpoint()
    ), noticed AS (
        INSERT INTO public.core_databaseorigin AS known (id, origin, restored_at)
        SELECT 1, origin, NULL FROM here
        WHERE NOT EXISTS (SELECT FROM public.core_databaseorigin JOIN here USING (origin))
        ON CONFLICT (id) DO UPDATE SET origin = excluded.origin, restored_at = clock_timestamp()
        WHERE known.origin <> excluded.origin
        RETURNING restored_at
    )
    SELECT coalesce((SELECT restored_at FROM noticed), (SELECT restored_at FROM public.core_databaseorigin))
"""
_BEGIN_AGAIN = """
    UPDATE public.core_workitem
    SET lease_token = NULL, lease_until = NULL, holder_pid = NULL, attempts = 0, due_at = LEAST(due_at, clock_timestamp())
"""
