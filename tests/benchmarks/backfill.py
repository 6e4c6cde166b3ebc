"""One worker in a process of its own, told what to do line by line: `python -m tests.benchmarks.backfill <json>`.

The process is the product and nothing else, so its CPU seconds, its peak memory and its statements are the engine's. PostgreSQL,
Redis and the simulators are other processes. It answers one line of JSON for each step (see `Phase`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import django

from tests.benchmarks.clock import VirtualClock

clock = VirtualClock()
django.setup()

from django.conf import settings  # noqa: E402 -- the clock comes first, then Django
from django.db import connection as database  # noqa: E402

from marketplace.core.models import WorkItem  # noqa: E402
from marketplace.installations.models import Connection  # noqa: E402
from marketplace.mapping.models import Flow  # noqa: E402
from marketplace.posting.tasks import plan  # noqa: E402
from marketplace.sync.models import StreamState  # noqa: E402
from tenants.context import tenant  # noqa: E402
from tenants.models import Tenant, User  # noqa: E402
from tests.benchmarks.driving import Business, provider, work_off  # noqa: E402
from tests.benchmarks.statements import counted  # noqa: E402


@dataclass(frozen=True)
class Phase:
    """What one step cost this process, and what it asked of others."""

    name: str
    cpu_seconds: float
    waited_seconds: float
    statements: int
    claims: int
    calls: dict[str, int]
    refused: int
    wal_bytes: int
    peak_kb: int


class Worker:
    """One source and one ledger of one business."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.business = Business(Tenant.objects.get(pk=order["tenant"]), User.objects.get(pk=order["user"]))
        with tenant(self.business.owner):
            self.source, self.ledger = (Connection.objects.get(pk=order[name]) for name in ("source", "ledger"))
        self.slugs = (self.source.connector, self.ledger.connector)
        self.flow: Flow | None = None

    def read(self) -> int:
        self.business.read(self.source)
        return work_off(kinds=("sync",), clock=clock)

    def read_again(self) -> int:
        """The whole list once more, from the beginning."""
        with tenant(self.business.owner):
            StreamState.objects.filter(connection=self.source).update(cursor=None)
        self.business.read(self.source)
        return work_off(clock=clock)

    def agree(self) -> int:
        """What people do between reading and writing."""
        self.flow = self.business.flow(self.source, self.ledger)
        self.business.go_live(self.flow)
        return 0

    def plan(self) -> int:
        """Called directly: on the queue, writing would begin before planning has ended, and could not be told from it."""
        assert self.flow is not None
        plan(self.business.owner.pk, str(self.flow.pk))
        return 1

    def write(self) -> int:
        return work_off(clock=clock)

    def a_day(self) -> int:
        """What changed since, from the source to the ledger. A regular look at the ledger's own lists is no part of it."""
        WorkItem.objects.filter(kind="sync").exclude(key__startswith=str(self.source.pk)).delete()
        self.business.read(self.source)
        return work_off(clock=clock)

    def measured(self, name: str) -> Phase:
        step: Callable[[], int] = getattr(self, name)
        calls, refused = self._calls()
        wal, waited, cost = _wal(), clock.waited, clock.cost
        began = time.process_time()
        with counted() as statements:
            claims = step()
        spent = time.process_time() - began - (clock.cost - cost)
        after, refused_after = self._calls()
        return Phase(
            name=name,
            cpu_seconds=spent,
            waited_seconds=clock.waited - waited,
            statements=statements.total,
            claims=claims,
            calls={slug: after[slug] - calls[slug] for slug in self.slugs},
            refused=refused_after - refused,
            wal_bytes=_wal() - wal,
            peak_kb=_peak_kb(),
        )

    def _calls(self) -> tuple[dict[str, int], int]:
        found, refused = {}, 0
        for slug in self.slugs:
            with provider(slug) as simulated:
                counts = simulated.counts()
            found[slug] = int(counts["total"])
            refused += int(counts["refused_429"])
        return found, refused


def _wal() -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])


def _peak_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    worker = Worker(json.loads(sys.argv[1]))
    clock.take_along([settings.SIMULATORS[slug] for slug in worker.slugs])
    for line in sys.stdin:
        print(json.dumps(asdict(worker.measured(line.strip()))), flush=True)


if __name__ == "__main__":
    main()
