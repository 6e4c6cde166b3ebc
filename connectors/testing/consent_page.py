"""The page on which a person lets us in: plain HTML, clearly marked as a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center;
  background: Canvas; color: CanvasText; }
main { width: min(30rem, 100% - 2rem); padding: 2rem 0; }
.mark { display: inline-block; padding: .1rem .6rem; border: 1px solid; border-radius: 1rem;
  font-size: .85rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .75rem 0; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
fieldset { border: 1px solid #8886; border-radius: .5rem; margin: 1rem 0; padding: .75rem 1rem; }
label { display: flex; gap: .6rem; padding: .5rem 0; align-items: baseline; }
small { opacity: .75; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button { font: inherit; min-height: 2.75rem; padding: 0 1.25rem; border-radius: .5rem; border: 1px solid #888;
  background: transparent; color: inherit; cursor: pointer; }
button[value=allow] { background: #0b5c3b; border-color: #0b5c3b; color: #fff; }
button:focus-visible, input:focus-visible { outline: 3px solid #4c8dff; outline-offset: 2px; }
"""


def consent_page(
    *,
    provider: str,
    asks: str,
    scopes: Sequence[str],
    organisations: Sequence[Mapping[str, Any]],
    hidden: Mapping[str, str],
) -> str:
    """The whole page; with one organisation or none there is nothing to pick."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
    )
    listed = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(provider)} (simulated): allow access?</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<span class="mark">Simulated {escape(provider)}</span>
<h1>Allow {escape(asks)} to use your data at {escape(provider)}?</h1>
<p>This page stands in for the one {escape(provider)} would show. No real company is behind it.</p>
<form method="post">
{fields}{_choices(organisations)}
<p>It asks to:</p>
<ul>{listed}</ul>
<div class="actions">
<button name="decision" value="allow">Allow access</button>
<button name="decision" value="deny">Deny</button>
</div>
</form>
</main>
</body>
</html>
"""


def _choices(organisations: Sequence[Mapping[str, Any]]) -> str:
    if not organisations:
        return ""
    labels = "".join(
        f'<label><input type="radio" name="organisation" value="{escape(str(found["id"]))}"'
        f"{' checked' if position == 0 else ''}>"
        f"<span>{escape(str(found['name']))} <small>{escape(_remark(found))}</small></span></label>"
        for position, found in enumerate(organisations)
    )
    return f"<fieldset><legend>Which organisation?</legend>{labels}</fieldset>"


def _remark(organisation: Mapping[str, Any]) -> str:
    return ", ".join(str(organisation[key]) for key in ("country", "base_currency") if organisation.get(key))
