"""The components keep their promises: words with every colour, text escaped, no script or style inline."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.paginator import Paginator
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from marketplace.core.formatting import LOOKS, STAIRCASE
from tests.core.ui_sample import sample_page

SPRITE = Path(str(finders.find("icons.svg"))).read_text()


class Outline(HTMLParser):
    """What an assistive technology would find: ids, references, labels, tables, headings."""

    VOID = {"meta", "link", "input", "img", "br", "hr", "rect", "path", "polyline"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def every(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def page() -> str:
    return sample_page("sort=amount&state=held")


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def rendered(source: str, **context: object) -> str:
    return Template("{% load ui charts %}" + source).render(Context(context)).strip()


def test_page_is_well_formed_and_small(page: str, outline: Outline) -> None:
    assert outline.unbalanced == []
    assert outline.open == []
    assert len(page.encode()) < 100_000


def test_page_has_no_inline_script_style_or_handler(page: str, outline: Outline) -> None:
    assert not re.search(r"<style|<script>|javascript:", page)
    assert all("src" in script for script in outline.every("script"))
    names = {name for _, attributes in outline.tags for name in attributes}
    assert "style" not in names
    assert not {name for name in names if name.startswith("on")}


def test_page_has_one_of_each_landmark_and_one_h1(outline: Outline) -> None:
    counts = Counter(tag for tag, _ in outline.tags)
    assert counts["main"] == counts["h1"] == counts["footer"] == 1
    navs = [attributes["aria-label"] for attributes in outline.every("nav")]
    assert len(navs) == len(set(navs))


def test_ids_are_unique_and_every_reference_resolves(outline: Outline) -> None:
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert [one for one, times in Counter(ids).items() if times > 1] == []
    for _, attributes in outline.tags:
        for name in ("for", "aria-describedby", "data-copy", "popovertarget"):
            assert set(attributes.get(name, "").split()) <= set(ids), (name, attributes)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_every_control_has_a_label(outline: Outline) -> None:
    labelled = {attributes.get("for") for attributes in outline.every("label")}
    for control in outline.every("input", "select", "textarea"):
        assert control.get("type") == "hidden" or control["id"] in labelled, control


def test_wrong_field_points_to_its_error_and_keeps_what_was_typed(page: str, outline: Outline) -> None:
    field = next(one for one in outline.every("input") if one.get("name") == "starts_on")
    assert field["aria-invalid"] == "true"
    assert "id_starts_on_error" in field["aria-describedby"]
    assert field["value"] == "someday"
    assert "Nothing was saved" in page


def test_every_table_has_a_caption_and_scoped_headings(outline: Outline) -> None:
    counts = Counter(tag for tag, _ in outline.tags)
    assert counts["table"] == counts["caption"]
    assert all(heading.get("scope") in {"col", "row"} for heading in outline.every("th"))


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "&lt;b&gt;Bold Ltd&lt;/b&gt;" in page
    assert "<b>" not in page


def test_navigation_marks_the_page_that_is_open() -> None:
    source = '{% load navigation %}{% nav_link "members" "Members" %}{% nav_link "no_such_page" "Nowhere" %}'
    request = RequestFactory().get("/o/kestrel/members/invite/")
    request.tenant = type("Business", (), {"slug": "kestrel"})  # type: ignore[attr-defined]
    html = Template(source).render(Context({"request": request}))
    assert 'href="/o/kestrel/members/" aria-current="page"' in html
    assert "Nowhere" not in html


@pytest.mark.parametrize("state", sorted(LOOKS))
def test_badge_shows_a_word_and_an_icon_that_exists(state: str) -> None:
    html = rendered("{% badge state %}", state=state)
    symbol = re.search(r"icons\.svg#(\w+)", html)
    assert symbol is not None
    assert f'id="{symbol[1]}"' in SPRITE
    assert re.search(r"</svg>\w", html)


def test_badge_of_an_unknown_state_claims_no_proof() -> None:
    assert 'class="badge quiet"' in rendered("{% badge 'brand_new' %}")
    assert "Brand new" in rendered("{% badge 'brand_new' %}")


@pytest.mark.parametrize("stage", [value for value, _ in STAIRCASE])
def test_staircase_has_five_steps_and_one_current(stage: str) -> None:
    html = rendered("{% staircase stage %}", stage=stage)
    assert html.count("<li") == 5
    assert html.count('aria-current="step"') == 1


def test_sort_heading_turns_around_and_forgets_the_page() -> None:
    def heading(query: str) -> str:
        request = RequestFactory().get(f"/?{query}")
        return rendered('{% sort_th "Amount" "amount" %}', request=request)

    assert 'href="?state=held&amp;sort=amount"' in heading("state=held&page=3")
    assert 'href="?sort=-amount"' in heading("sort=amount")
    assert 'aria-sort="descending"' in heading("sort=-amount")


def test_pagination_keeps_the_filters() -> None:
    context = {"request": RequestFactory().get("/?state=held&page=2"), "page": Paginator(range(120), 50).page(2)}
    html = rendered("{% pagination page %}", **context)
    assert "51 to 100 of 120" in html
    assert 'rel="next" href="?state=held&amp;page=3"' in html


def test_progress_without_a_total_has_no_value() -> None:
    assert "value=" not in rendered("{% progress 12 %}")
    assert 'value="5" max="10"' in rendered("{% progress 5 10 'orders' %}")
    assert "(50%)" in rendered("{% progress 5 10 'orders' %}")


def test_diff_shows_equal_values_once() -> None:
    assert rendered("{% diff 'a' 'a' %}") == "a"
    assert "<del>" in rendered("{% diff 'a' 'b' %}")


def test_local_time_is_shown_in_the_zone_with_the_exact_instant() -> None:
    html = rendered("{{ at|local_time:'Europe/London' }}", at=datetime(2026, 7, 1, 12, 30, 5, tzinfo=UTC))
    assert "1 Jul 2026, 13:30" in html
    assert "BST" in html
    assert 'title="2026-07-01T13:30:05.000+01:00"' in html


def test_ago_reads_both_ways() -> None:
    now = timezone.now()
    assert "3 minutes ago" in rendered("{{ at|ago }}", at=now - timedelta(minutes=3, seconds=5)).replace("\xa0", " ")
    assert "in 2 hours" in rendered("{{ at|ago }}", at=now + timedelta(hours=2, minutes=5)).replace("\xa0", " ")
    assert "just now" in rendered("{{ at|ago }}", at=now)
    assert "in a moment" in rendered("{{ at|ago }}", at=now + timedelta(seconds=40))


def test_bar_chart_stacks_to_the_sum_and_lists_the_figures() -> None:
    html = rendered(
        "{% bar_chart rows series caption='Orders' %}",
        rows=[("1 Nov", [60, 40]), ("2 Nov", [0, 10])],
        series=[("good", "Posted"), ("warn", "Held")],
    )
    assert [float(y) for y in re.findall(r' y="([\d.]+)"', html)] == [40.0, 0.0, 90.0]
    assert html.count('<td class="num">') == 4


@pytest.mark.parametrize(
    "points", [[], [("1 Nov", 98)], [("1 Nov", 0), ("2 Nov", 0)], [("1 Nov", 100), ("2 Nov", 100)]]
)
def test_trend_chart_draws_any_number_of_points(points: list[tuple[str, float]]) -> None:
    html = rendered("{% trend_chart points caption='Match rate' unit='%' target=98 %}", points=points)
    assert html.count("<tr>") == len(points) + 1
    assert "nan" not in html
