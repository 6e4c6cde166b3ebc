"""What identifies a document in a reference somebody typed, kept by the database beside the text itself."""

from __future__ import annotations

from django.db.models import F, Func, TextField
from django.db.models.expressions import Combinable

_KEY = "regexp_replace(upper(regexp_replace(%(expressions)s, '[^0-9A-Za-z]', '', 'g')), '^[A-Z]*([0-9]{3,})$', '\\1')"


def document_key(text: str | Combinable) -> Func:
    """Its digits when it ends in a number of three or more, else its letters and digits: "Shop #1001" and "inv-1001" are 1001."""
    return Func(F(text) if isinstance(text, str) else text, template=_KEY, output_field=TextField())
