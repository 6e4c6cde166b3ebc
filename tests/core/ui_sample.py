"""A page with every component, drawn with the figures of an imagined November."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.template import engines
from django.test import RequestFactory

from tenants.models import Tenant, User

SAMPLE = Path(__file__).parent / "ui_sample.html"
STATES = ("posted", "held", "failed", "excluded", "shadow", "posted")


class FilterForm(forms.Form):
    state = forms.ChoiceField(choices=[("", "All"), ("held", "Held")], required=False)
    text = forms.CharField(required=False, label="Order number")


class SettingsForm(forms.Form):
    name = forms.CharField(help_text="As your colleagues call it.")
    ledger_account = forms.ChoiceField(choices=[("200", "200 Sales"), ("205", "205 Online sales")])
    starts_on = forms.DateField(label="First day", widget=forms.DateInput(attrs={"type": "date"}))
    note = forms.CharField(widget=forms.Textarea, required=False)
    rule = forms.ChoiceField(
        choices=[("owner", "The owner always wins"), ("ask", "Ask me")],
        widget=forms.RadioSelect,
        label="When both changed",
    )
    posts_drafts = forms.BooleanField(label="Post as drafts", required=False, help_text="Staff approve each one.")


def sample_request(query: str = "") -> HttpRequest:
    request = RequestFactory().get(f"/o/kestrel/flows/?{query}")
    request.user = User(pk=1, email="alice@example.com", full_name="Alice Marsh")
    request.tenant = Tenant(slug="kestrel", legal_name="Kestrel & Co", time_zone="Europe/London")  # type: ignore[attr-defined]
    request._messages = CookieStorage(request)  # type: ignore[attr-defined]
    messages.success(request, "Mapping version 4 is in use.")
    return request


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "number": 1042 + position,
            "customer": ("Anna & Söhne", "<b>Bold Ltd</b>", "Cedar Interiors")[position % 3],
            "state": state,
            "at": datetime(2026, 11, 20, 14, 5 + position, tzinfo=UTC),
            "amount": Decimal("1234.5000") * (position + 1),
        }
        for position, state in enumerate(STATES)
    ]


def sample_context(request: HttpRequest) -> dict[str, Any]:
    rows = _rows()
    form = SettingsForm(data={"name": "", "ledger_account": "205", "starts_on": "someday", "rule": "ask"})
    form.add_error(None, "Nothing was saved: two fields need another look.")
    tones = ["good"] * 17 + ["warn"] + ["good"] * 2 + ["bad"] + ["quiet"] * 9
    return {
        "tenants_of_user": [request.tenant, Tenant(slug="marlow", legal_name="Marlow GmbH")],  # type: ignore[attr-defined]
        "nav_counts": {"issues": 3},
        "notes": {
            "sandbox": "All cases passed",
            "pilot": "98.9% matched",
            "parallel": "Day 12 of 14",
            "live": "2 conditions open",
        },
        "urls": {"sandbox": "/o/kestrel/flows/1/sandbox/"},
        "rows": rows,
        "total": sum(row["amount"] for row in rows),
        "page": Paginator(range(230), 50).page(2),
        "days": [
            {
                "date": date(2026, 11, number),
                "tone": tone,
                "text": f"{tone}, 41 orders",
                "url": "/o/kestrel/" if tone == "bad" else "",
            }
            for number, tone in enumerate(tones, start=1)
        ],
        "chips": [
            ("match", 1240, Decimal("81200.10"), "?verdict=match", False),
            ("amount", 12, Decimal("312.4"), "?verdict=amount", True),
            ("missing_in_theirs", 9, Decimal("1020"), "?verdict=missing_in_theirs", False),
        ],
        "bars": [(f"{number} Nov", [40 + number * 3 % 17, number % 4, number % 3]) for number in range(1, 22)],
        "series": [("good", "Posted"), ("warn", "Held"), ("quiet", "Excluded")],
        "points": [(f"{number} Nov", 92 + min(number * 0.6, 6.7)) for number in range(1, 15)],
        "pairs": [
            ("Amount", "GBP 120.00", "GBP 102.00"),
            ("Date", "20 Nov 2026", "20 Nov 2026"),
            ("Tax", "20% VAT", None),
        ],
        "body": {
            "Type": "ACCREC",
            "Reference": "#1042",
            "Total": Decimal("120.00"),
            "Script": "</script><b>",
        },
        "share": Decimal("0.9997"),
        "gate": [
            {"is_met": True, "text": "14 days compared"},
            {
                "is_met": False,
                "text": "98% matched by money",
                "hint": "97.2% today: 12 amounts differ.",
                "url": "/o/kestrel/",
            },
        ],
        "filters": FilterForm(),
        "form": form,
        "logo": "/static/favicon.svg",
    }


def sample_page(query: str = "") -> str:
    request = sample_request(query)
    return str(engines["django"].from_string(SAMPLE.read_text()).render(sample_context(request), request))
