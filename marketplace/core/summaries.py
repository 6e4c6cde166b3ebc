"""The few figures of a business that pages about several businesses read, brought up to date soon after they change."""

from __future__ import annotations

import datetime as dt
import uuid

from marketplace.core.work import request_work

SUMMARY_KIND = "summary"
SUMMARY_KEY = "tenant"
#: Many changes in a row are counted once.
GATHER = dt.timedelta(seconds=2)


def ask_for_summary(tenant_id: uuid.UUID) -> None:
    """Count again, in a moment. What is counted lies above this slice: see `posting.summaries`."""
    request_work(tenant_id=tenant_id, kind=SUMMARY_KIND, key=SUMMARY_KEY, delay=GATHER)
