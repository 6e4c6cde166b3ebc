"""The components of every page; docs/ui-components.md shows each call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.core.paginator import Page
from django.core.serializers.json import DjangoJSONEncoder
from django.template import Context
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

from marketplace.core.formatting import (
    NOTHING,
    STAIRCASE,
    TONES,
    amount_text,
    day_text,
    look_of,
    number_text,
    percent_text,
)
from marketplace.core.progress import time_left

register = template.Library()
_code_numbers = count(1)


def _trimmed(content: str) -> SafeString:
    """What stands between the tags is rendered already; `strip` alone would lose that mark."""
    return mark_safe(content.strip())


def _component(name: str, **context: Any) -> SafeString:
    return render_to_string(f"components/{name}.html", context)


# --- frame -------------------------------------------------------------------------------------------------


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """Kept once made: a page shows dozens of the few there are."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name)


@register.simple_tag
def crumb(label: str, url: str = "") -> SafeString:
    if url:
        return format_html('<li><a href="{}">{}</a></li>', url, label)
    return format_html('<li><span aria-current="page">{}</span></li>', label)


@register.simple_tag
def logo_tile(src: str, name: str, size: str = "") -> SafeString:
    return format_html('<img class="logo {}" src="{}" alt="{}" loading="lazy">', size, src, f"{name} logo")


@register.simple_block_tag
def page_header(content: str, title: str, lead: str = "", eyebrow: str = "") -> SafeString:
    return _component("page_header", content=_trimmed(content), title=title, lead=lead, eyebrow=eyebrow)


@register.simple_block_tag
def panel(content: str, title: str = "", note: str = "", id: str = "", flush: bool = False) -> SafeString:
    return _component("panel", content=content, title=title, note=note, id=id, flush=flush)


@register.simple_block_tag
def banner(content: str, tone: str, title: str = "") -> SafeString:
    return _component("banner", content=_trimmed(content), look=TONES[tone], title=title)


@register.simple_block_tag
def empty(content: str, title: str, text: str = "") -> SafeString:
    return _component("empty", content=_trimmed(content), title=title, text=text)


# --- states and steps --------------------------------------------------------------------------------------


@register.simple_tag
def badge(state: str, word: str = "") -> SafeString:
    return _badge(str(state), str(word))


@lru_cache(maxsize=500)
def _badge(state: str, word: str) -> SafeString:
    look = look_of(state, word)
    return format_html('<span class="badge {}">{}{}</span>', look.tone, icon(look.symbol), look.word)


@register.simple_tag
def verdict_chip(
    verdict: str,
    count: int | None = None,
    money: Decimal | None = None,
    currency: str = "",
    url: str = "",
    is_active: bool = False,
) -> SafeString:
    if count is None:
        return badge(verdict)
    return _component(
        "verdict_chip",
        look=look_of(verdict),
        count=count,
        money=money,
        currency=currency,
        url=url,
        is_active=is_active,
    )


def _standing(position: int, current: int) -> str:
    if position < current:
        return "done"
    if position == current:
        return "current"
    return "next" if position == current + 1 else "later"


@register.simple_tag
def steps(titles: str | Sequence[str], current: int) -> SafeString:
    """A wizard's progress header; `current` counts from 1."""
    names = titles.split(",") if isinstance(titles, str) else titles
    rows = [
        {"title": name.strip(), "standing": _standing(position, current)}
        for position, name in enumerate(names, start=1)
    ]
    return _component("steps", steps=rows, label=f"Step {current} of {len(rows)}")


@register.simple_tag
def staircase(stage: str, notes: Mapping[str, str] | None = None, urls: Mapping[str, str] | None = None) -> SafeString:
    current = [value for value, _ in STAIRCASE].index(stage)
    rows = [
        {
            "title": title,
            "standing": _standing(position, current),
            "note": (notes or {}).get(value, ""),
            "url": (urls or {}).get(value, ""),
        }
        for position, (value, title) in enumerate(STAIRCASE)
    ]
    return _component("steps", steps=rows, label="The staircase to live")


@register.simple_tag
def checklist(items: Iterable[Mapping[str, Any]]) -> SafeString:
    return _component("checklist", items=items)


@register.simple_tag(takes_context=True)
def progress(
    context: Context, done: int, total: int | None = None, what: str = "", estimate: str = "", of: object = ""
) -> SafeString:
    """`of`: whose work it is, a run's or a flow's id; with it, the time left is estimated from the pace seen so far."""
    share = Decimal(done) / total if total else None
    owner = getattr(context.get("request"), "tenant", None)
    if of and total and owner is not None:
        estimate = time_left(tenant_id=owner.pk, what=f"{of}:{what}", done=done, total=total)
    return _component("progress", done=done, total=total, what=what, estimate=estimate, share=share)


# --- tables and lists --------------------------------------------------------------------------------------


@register.simple_block_tag
def table(content: str, caption: str, stacks: bool = False, shows_caption: bool = False) -> SafeString:
    return _component("table", content=content, caption=caption, stacks=stacks, shows_caption=shows_caption)


@register.simple_tag(takes_context=True)
def sort_th(context: Context, label: str, key: str, numeric: bool = False) -> SafeString:
    """The first click sorts upwards, the second downwards; paging starts again."""
    query = context["request"].GET.copy()
    order = {key: "ascending", f"-{key}": "descending"}.get(query.get("sort", ""), "")
    query["sort"] = f"-{key}" if order == "ascending" else key
    query.pop("page", None)
    return _component("sort_th", label=label, url=f"?{query.urlencode()}", order=order, numeric=numeric)


@register.simple_tag(takes_context=True)
def pagination(context: Context, page: Page[Any]) -> SafeString:
    query = context["request"].GET.copy()
    query.pop("page", None)
    prefix = f"?{query.urlencode()}&page=" if query else "?page="
    return _component("pagination", page=page, prefix=prefix)


@register.simple_block_tag(takes_context=True)
def filter_bar(context: Context, content: str, label: str = "Filter") -> SafeString:
    request = context["request"]
    return _component("filter_bar", content=content, label=label, path=request.path, is_used=bool(request.GET))


@register.simple_block_tag
def facts(content: str) -> SafeString:
    return format_html('<dl class="facts">{}</dl>', content)


@register.simple_block_tag
def fact(content: str, label: str) -> SafeString:
    return format_html("<div><dt>{}</dt><dd>{}</dd></div>", label, content)


@register.simple_block_tag
def figures(content: str) -> SafeString:
    return format_html('<dl class="figures">{}</dl>', content)


@register.simple_block_tag
def figure(content: str, label: str, tone: str = "", note: str = "") -> SafeString:
    mark = icon(tone) if tone else ""
    small = format_html('<dd class="note">{}</dd>', note) if note else ""
    return format_html('<div class="{}"><dt>{}{}</dt><dd>{}</dd>{}</div>', tone, mark, label, content, small)


@register.simple_tag
def diff(before: Any, after: Any) -> SafeString:
    return _component("diff", before=before, after=after, is_same=before == after)


@register.simple_tag
def diff_table(
    rows: Iterable[tuple[str, Any, Any]], left: str = "Ours", right: str = "Theirs", caption: str = ""
) -> SafeString:
    marked = [
        {"label": label, "left": ours, "right": theirs, "is_same": ours == theirs} for label, ours, theirs in rows
    ]
    return _component(
        "diff_table", rows=marked, left=left, right=right, caption=caption or f"{left} beside {right.lower()}"
    )


@register.simple_tag
def code_block(value: Any, label: str = "") -> SafeString:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
    return _component("code_block", text=text, label=label, id=f"code-{next(_code_numbers)}")


# --- acting ------------------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def post_button(context: Context, url: str, label: str, kind: str = "", next: str = "") -> SafeString:
    token = context.get("csrf_token")
    return _component("post_button", url=url, label=label, kind=kind, next=next, csrf_token=token)


@register.simple_block_tag(takes_context=True)
def confirm(
    context: Context,
    content: str,
    title: str,
    button: str,
    cancel: str,
    happens: Sequence[str],
    stays: Sequence[str],
    action: str = "",
    kind: str = "danger",
) -> SafeString:
    return _component(
        "confirm",
        content=content,
        title=title,
        button=button,
        cancel_url=cancel,
        happens=happens,
        stays=stays,
        action=action,
        kind=kind,
        csrf_token=context.get("csrf_token"),
    )


# --- values ------------------------------------------------------------------------------------------------


@register.filter
def money(amount: Decimal | None, currency: str = "") -> SafeString:
    if amount is None or amount == "":
        return format_html('<span class="money is-none">{}</span>', NOTHING)
    return format_html(
        '<span class="money"><span class="currency">{}</span> {}</span>',
        currency,
        amount_text(amount, currency),
    )


@register.filter
def number(count: int | Decimal | None) -> str:
    return number_text(count)


@register.filter
def percent(share: float | Decimal | None) -> str:
    return percent_text(share)


@register.filter
def day(value: date | None) -> SafeString | str:
    if value is None:
        return NOTHING
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), day_text(value))


def _instant(at: datetime, words: str | SafeString) -> SafeString:
    exact = at.isoformat(timespec="milliseconds")
    return format_html('<time datetime="{}" title="{}">{}</time>', exact, exact, words)


@register.filter
def local_time(at: datetime | None, zone: str = "") -> SafeString | str:
    if at is None:
        return NOTHING
    local = timezone.localtime(at, ZoneInfo(zone) if zone else None)
    words = format_html('{}, {} <span class="zone">{}</span>', day_text(local), f"{local:%H:%M}", local.tzname() or "")
    return _instant(local, words)


@register.filter
def ago(at: datetime | None) -> SafeString | str:
    if at is None:
        return NOTHING
    now = timezone.now()
    if abs((now - at).total_seconds()) < 60:
        return _instant(at, "in a moment" if at > now else "just now")
    if at > now:
        return _instant(at, f"in {timesince(now, at, depth=1)}")
    return _instant(at, f"{timesince(at, now, depth=1)} ago")


@register.filter
def initial(name: object) -> SafeString | str:
    """The letter that stands for a business or a person in a small tile."""
    return str(name).strip()[:1].upper() or mark_safe("&middot;")
