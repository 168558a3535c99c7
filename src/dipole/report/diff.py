"""The page of a difference between two logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.evaluation.diff_record import Difference, Row, p_shown
from dipole.report.templates import template
from dipole.shown.numbers import NONE, bounds, change, number
from dipole.shown.text import one_line, visible

_MOST_ITEMS = 50


def render_diff_html(found: Difference, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere.

    Args:
        found: What was compared.
        manifest: What makes it again.
    """
    reach = max((_reach(row) for row in found.rows), default=0.0) or 1.0
    view = {
        "before": one_line(str(found.before)),
        "after": one_line(str(found.after)),
        "notes": [one_line(note) for note in found.notes],
        "shown": sum(row.shown for row in found.rows),
        "rows": [_row(row, found.effect, reach) for row in found.rows],
        "command": visible(str(manifest.get("command") or "")),
    }
    return str(template("diff.html.jinja").render(view=view))


def _reach(row: Row) -> float:
    between = row.found.difference
    return max(abs(v) for v in (between.mean, between.low, between.high) if not math.isnan(v))


def _row(row: Row, effect: float | None, reach: float) -> dict[str, Any]:
    found, unit = row.found, row.unit
    return {
        "task": one_line(row.measure.task),
        "metric": one_line(row.measure.metric),
        "count": f"{found.items:,}",
        "groups": f"{found.groups:,}" if found.groups < found.items else "",
        "before": number(found.before, unit),
        "after": number(found.after, unit),
        "difference": change(found.difference.mean, unit),
        "bounds": bounds(found.difference, unit) or NONE,
        "p": p_shown(row.p_holm),
        "up": found.up,
        "down": found.down,
        "wrong_way": number(found.wrong_way, "share"),
        "shown": row.shown,
        "verdict": one_line(row.verdict(effect)),
        "bar": _bar(row, reach),
        "rose": _some(row.rose),
        "fell": _some(row.fell),
    }


def _bar(row: Row, reach: float) -> dict[str, float] | None:
    """Where the interval and the difference lie on an axis from -reach to reach, in per cent of its width."""
    between = row.found.difference
    if math.isnan(between.low):
        return None
    low, mean, high = (50 + 48 * value / reach for value in (between.low, between.mean, between.high))
    return {"low": round(low, 2), "width": round(max(high - low, 0.4), 2), "mean": round(mean, 2)}


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MOST_ITEMS:,} more" if len(items) > _MOST_ITEMS else ""
    return ", ".join(one_line(item) for item in items[:_MOST_ITEMS]) + more
