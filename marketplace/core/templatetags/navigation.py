"""The side navigation. An entry shows only when its page exists."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from marketplace.core.formatting import number_text
from marketplace.core.templatetags.ui import icon, initial
from tenants.choices import Role
from tenants.models import Membership, Tenant

register = template.Library()

Entry = tuple[str, str, str]  # URL name, words, icon

TENANT_GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    ("", (("home", "Home", "home"), ("issues", "Needs attention", "issues"))),
    (
        "Set up",
        (
            ("catalogue", "Catalogue", "catalogue"),
            ("connections", "Connections", "connections"),
            ("flows", "Flows", "flows"),
            ("source_of_truth", "Source of truth", "truth"),
        ),
    ),
    (
        "See",
        (
            ("records", "Records", "records"),
            ("runs", "Runs", "runs"),
            ("audit_trail", "Audit trail", "audit"),
        ),
    ),
    ("Business", (("members", "Members", "members"),)),
)
#: Pages that not everybody may open; an entry that leads to a refusal is none.
LEAST_ROLES = {"audit_trail": Role.ADMIN}
PERSON_GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Your sign-in",
        (
            ("account_email", "E-mail address", "mail"),
            ("account_change_password", "Password", "lock"),
            ("mfa_index", "Two-step sign-in", "audit"),
        ),
    ),
)


def _url(name: str, *args: str) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _is_current(path: str, url: str, name: str) -> bool:
    return path == url or (name != "home" and path.startswith(url))


def _groups(
    groups: tuple[tuple[str, tuple[Entry, ...]], ...],
    path: str,
    counts: dict[str, int],
    *args: str,
    membership: Membership | None = None,
) -> list[dict[str, Any]]:
    found = [
        {
            "title": title,
            "entries": [
                {
                    "url": url,
                    "label": label,
                    "icon": symbol,
                    "count": counts.get(name),
                    "is_current": _is_current(path, url, name),
                }
                for name, label, symbol in entries
                if _may_open(name, membership) and (url := _url(name, *args))
            ],
        }
        for title, entries in groups
    ]
    return [group for group in found if group["entries"]]


def _may_open(name: str, membership: Membership | None) -> bool:
    return name not in LEAST_ROLES or (membership is not None and membership.may(LEAST_ROLES[name]))


@register.inclusion_tag("components/side.html", takes_context=True)
def side_nav(context: Context) -> dict[str, Any]:
    request = context["request"]
    counts, membership = context.get("nav_counts") or {}, getattr(request, "membership", None)
    groups = _groups(TENANT_GROUPS, request.path, counts, request.tenant.slug, membership=membership)
    return {"groups": groups, "label": str(request.tenant)}


@register.inclusion_tag("components/side.html", takes_context=True)
def person_nav(context: Context) -> dict[str, Any]:
    return {"groups": _groups(PERSON_GROUPS, context["request"].path, {}), "label": "Your sign-in"}


@register.inclusion_tag("components/nav_link.html", takes_context=True)
def nav_link(context: Context, name: str, label: str, symbol: str = "") -> dict[str, Any]:
    """One entry by URL name; nothing when there is no such page."""
    request = context["request"]
    url = _url(name, request.tenant.slug) if getattr(request, "tenant", None) else _url(name)
    return {
        "entry": {
            "url": url,
            "label": label,
            "icon": symbol,
            "is_current": _is_current(request.path, url, name),
        }
    }


@register.simple_tag(takes_context=True)
def switcher_entries(context: Context) -> SafeString:
    """The businesses to switch to. Every page holds them, so they are put together without a template for each."""
    opened = getattr(context["request"], "tenant", None)
    rows = ((url, found) for found in context["tenants_of_user"] if (url := _url("home", found.slug)))
    return format_html_join("\n", "<li>{}</li>", ((_entry(url, found, found == opened),) for url, found in rows))


def _entry(url: str, business: Tenant, is_opened: bool) -> SafeString:
    waiting = getattr(business, "waiting_count", None)
    return format_html(
        '<a class="entry" href="{}"{}><span class="initial" aria-hidden="true">{}</span><span class="truncate">{}</span>{}{}</a>',
        url,
        _CURRENT if is_opened else "",
        initial(business),
        business,
        format_html(_WAITING, number_text(waiting)) if waiting else "",
        icon("check") if is_opened else "",
    )


_CURRENT = mark_safe(' aria-current="true"')
_WAITING = '<span class="count">{}<span class="visually-hidden"> waiting</span></span>'
