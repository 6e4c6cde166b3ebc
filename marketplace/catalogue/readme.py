"""A connector's README as part of its listing page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.registry import connector

TABLE_OPEN = '<div class="scroller" role="region" aria-label="Table {}" tabindex="0"><table>'


def _open_table(renderer: Any, tokens: Sequence[Token], position: int, options: Any, env: Any) -> str:
    number = sum(token.type == "table_open" for token in tokens[: position + 1])
    return TABLE_OPEN.format(number)


def _close_table(renderer: Any, tokens: Sequence[Token], position: int, options: Any, env: Any) -> str:
    return "</table></div>"


def _renderer() -> MarkdownIt:
    """HTML in the source is shown as text, never run: authors outside Tieout write these files."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    markdown.add_render_rule("table_open", _open_table)
    markdown.add_render_rule("table_close", _close_table)
    return markdown


def _below_the_page(tokens: list[Token]) -> list[Token]:
    """The page has its own title: the README's is dropped, its sections stand one level below the panel's heading."""
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return tokens


def render(text: str) -> SafeString:
    """Markdown as HTML that needs no further escaping."""
    markdown = _renderer()
    html: str = markdown.renderer.render(_below_the_page(markdown.parse(text)), markdown.options, {})
    return mark_safe(html)


@cache
def readme_of(slug: str) -> SafeString:
    """Rendered once a process; the file changes only with the release."""
    return render(connector(slug).readme)
