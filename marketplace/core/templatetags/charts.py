"""Charts as SVG from the server: shapes stretch, words stay HTML, and a table holds the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import floor, inf
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from marketplace.core.formatting import TONES, number_text

register = template.Library()

Number = int | float | Decimal
HEIGHT = 100.0
BAR, GAP = 8.0, 2.0


def round_up(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten: a scale people can read."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= value)


def _thinned(labels: Sequence[str], most: int = 5) -> list[str]:
    """First, last and some between; all of them would not fit on a phone."""
    if len(labels) <= most:
        return list(labels)
    last = len(labels) - 1
    return [labels[round(position * last / (most - 1))] for position in range(most)]


def _bars(values: Sequence[Number], tones: Sequence[str], left: float, top: float) -> list[dict[str, Any]]:
    bars, floor = [], HEIGHT
    for value, tone in zip(values, tones, strict=True):
        height = float(value) / top * HEIGHT
        floor -= height
        if height:
            bars.append({"x": left, "y": f"{floor:.2f}", "height": f"{height:.2f}", "tone": tone})
    return bars


@register.simple_tag
def bar_chart(
    rows: Sequence[tuple[str, Sequence[Number]]], series: Sequence[tuple[str, str]], caption: str
) -> SafeString:
    """Stacked bars; each series is (tone, words)."""
    tones = [tone for tone, _ in series]
    top = round_up(max((float(sum(values)) for _, values in rows), default=0.0))
    columns = [
        {
            "label": label,
            "cells": [number_text(value) for value in values],
            "bars": _bars(values, tones, position * (BAR + GAP) + GAP / 2, top),
            "words": ", ".join(f"{name} {number_text(v)}" for (_, name), v in zip(series, values, strict=True)),
        }
        for position, (label, values) in enumerate(rows)
    ]
    context = {
        "caption": caption,
        "series": [{"tone": tone, "name": name} for tone, name in series],
        "columns": columns,
        "width": len(columns) * (BAR + GAP) or 1,
        "bar": BAR,
        "y_labels": [f"{top:,g}", f"{top / 2:,g}", "0"],
        "x_labels": _thinned([label for label, _ in rows]),
    }
    return render_to_string("components/bar_chart.html", context)


def _window(values: Sequence[float], ceiling: float) -> tuple[float, float]:
    """From a whole number below the lowest to one above the highest, so that a small change is still seen."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    step = round_up((high - low) / 4)
    bottom = floor((low - step / 2) / step) * step
    top = min((floor((high + step / 2) / step) + 1) * step, ceiling)
    return (max(bottom, 0.0) if low >= 0 else bottom), max(top, high)


@register.simple_tag
def trend_chart(
    points: Sequence[tuple[str, Number]], caption: str, unit: str = "", target: float | None = None
) -> SafeString:
    values = [float(value) for _, value in points]
    low, top = _window(values + ([] if target is None else [target]), 100.0 if unit == "%" else inf)
    step = HEIGHT / max(len(values) - 1, 1)

    def height(value: float) -> float:
        return HEIGHT - (value - low) / (top - low) * HEIGHT

    spots = [f"{position * step:.2f},{height(value):.2f}" for position, value in enumerate(values)]
    context = {
        "caption": caption,
        "points": [{"label": label, "value": f"{value:,}{unit}"} for label, value in points],
        "line": " ".join(spots),
        "last": spots[-1] if spots else "",
        "end": f"{(len(values) - 1) * step:.2f}",
        "target": None if target is None else f"{height(target):.2f}",
        "target_words": None if target is None else f"{target:g}{unit}",
        "y_labels": [f"{top:,g}{unit}", f"{low:,g}{unit}"],
        "x_labels": _thinned([label for label, _ in points]),
    }
    return render_to_string("components/trend_chart.html", context)


@register.simple_tag
def day_strip(days: Iterable[Mapping[str, Any]], caption: str) -> SafeString:
    """One square a day: its number, its proof, and the words for it."""
    squares = [{**day, "icon": TONES[day["tone"]].symbol} for day in days]
    return render_to_string("components/day_strip.html", {"days": squares, "caption": caption})
