"""Money of several currencies in one cell."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.templatetags.ui import money
from marketplace.overview.proving import WAITING, FlowMonth, Money
from marketplace.posting.models import PostingBatch
from marketplace.posting.proof import DayProof
from marketplace.sync.models import SyncRun

register = template.Library()


@register.simple_tag
def moneys(amounts: Mapping[str, Decimal]) -> SafeString:
    """One small line a currency under a count."""
    lines = [(money(amount, currency),) for currency, amount in sorted(amounts.items()) if amount]
    return format_html("{}", format_html_join("", '<br><span class="small muted">{}</span>', lines))


@register.filter
def posted_money(month: FlowMonth) -> Money:
    return month.money_of("posted")


@register.filter
def held_count(day: DayProof) -> int:
    return sum(day.counts[state] for state in WAITING)


@register.filter
def held_amount(day: DayProof) -> Decimal:
    return sum((day.amounts[state] for state in WAITING), Decimal(0))


@register.filter
def data_type(name: str) -> str:
    """A data type as people call it, in the plural."""
    return DATA_TYPE_NAMES.get(name, (name, name))[1]


@register.filter
def duration(run: SyncRun | PostingBatch) -> str:
    """How long a run or a request took; nothing while it goes on."""
    begun, ended = (run.started_at, run.finished_at) if isinstance(run, SyncRun) else (run.sent_at, run.answered_at)
    if ended is None:
        return "–"
    seconds = (ended - begun).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
