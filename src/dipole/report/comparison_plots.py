"""The plots of a comparison: effect against KL, dose-response, bystanders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from dipole.effects import Bystander
from dipole.evaluation.families import Comparison, Curve, Point
from dipole.evaluation.families_records import CLAIM_TARGET, PERPLEXITY_TARGET
from dipole.report.comparison_svg import (
    CHARACTER,
    Box,
    Scale,
    Wish,
    band,
    drawing,
    element,
    line,
    path,
    place_labels,
    text,
    tick_text,
    ticks,
    title,
)
from dipole.shown.numbers import change, number, plain_bounds

UNITS = {"claim_share": "share", "velma_probability": "share"}
AXES = {"claim_share": "on the claim’s side", "velma_probability": "VELMA probability of the claim"}


def effect_plot(comparison: Comparison) -> str:
    """Effect over the square root of the KL for all controls; empty where none was measured at 1.

    Graded controls are curves, the others diamonds; a hollow mark has a perplexity above the target's.
    """
    curves = [c for c in comparison.curves if c.at(1.0) is not None]
    limit = kl_limit(comparison)
    shown = [(c, points) for c in curves if (points := _upward(c, limit))]
    if not shown:
        return ""
    width, height = 960.0, 430.0
    farthest = max(_kl(p) for _, points in shown for p in points)
    farthest = max(farthest, 0.1)
    lows = [p[comparison.main].after.mean for _, points in shown for p in points]
    bottom = max(0.0, math.floor(10 * (min([*lows, _base(comparison)]) - 0.02)) / 10)
    x = Scale(0.0, math.sqrt(farthest) * 1.02, 46.0, width - 14.0)
    y = Scale(bottom, 1.0, height - 40.0, 48.0)
    parts = _frame(x, y, comparison.main, height, farthest, bottom)
    start = (x(0.0), y(_base(comparison)))
    wishes, marks, segments = [], [start], []
    for curve, points in shown:
        places = [(x(math.sqrt(_kl(p))), y(p[comparison.main].after.mean)) for p in points]
        colour = _colour(curve)
        if curve.graded:
            line_ = [start, *places]
            before = [c.label for c, _ in shown if _colour(c) == colour and c.graded]
            parts.append(path(line_, f"curve {colour} dash-{before.index(curve.label) % 4}"))
            segments += [(*a, *b) for a, b in pairwise(line_)]
        marks += places
        for place, point in zip(places, points, strict=True):
            parts.append(_mark(curve, point, place, comparison.main))
            if point.kl_is_bound:
                parts.append(line(place[0] - 26, place[1], place[0] - 6, place[1], f"bound {colour}"))
        wishes.append(Wish(curve.label, places[::-1]))
    parts.append(element("circle", cx=start[0], cy=start[1], r=3.6, class_="mark base"))
    # Those with one place only choose first.
    order = sorted(range(len(wishes)), key=lambda i: len(wishes[i].near))
    placed = place_labels(
        [wishes[i] for i in order], marks, segments, Box(x.start, 18.0, width - 4.0, y.start - 4.0)
    )
    for (curve, _), label in zip((shown[i] for i in order), placed, strict=True):
        parts.append(text(label.x, label.y, label.text, f"label {_colour(curve)}"))
    return drawing(width, height, parts, "Effect of every control against its KL to the base.")


def _frame(x: Scale, y: Scale, main: str, height: float, farthest: float, bottom: float) -> list[str]:
    parts = []
    for value in ticks(bottom, 1.0):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(
            text(x.start - 8, y(value) + 4, number(value, "share").replace(".0%", "%"), "tick", "end")
        )
    if bottom < CLAIM_TARGET:
        parts.append(line(x.start, y(CLAIM_TARGET), x.end, y(CLAIM_TARGET), "target"))
        parts.append(text(x.end, y(CLAIM_TARGET) + 14, f"target {CLAIM_TARGET:.0%}", "tick", "end"))
    for value in [
        v for v in (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0) if v <= farthest * 1.02
    ]:
        at = x(math.sqrt(value))
        parts.append(line(at, y.start, at, y.start + 5, "axis-line"))
        parts.append(text(at, y.start + 18, tick_text(value), "tick", "middle"))
    parts.append(line(x.start, y.start, x.end, y.start, "axis-line"))
    parts.append(
        text(x.end, height - 4, "KL to the base, nats a sequence (square-root scale)", "tick", "end")
    )
    parts.append(text(x.start - 40, 12, AXES[main], "tick"))
    return parts


def _mark(curve: Curve, point: Point, place: tuple[float, float], main: str) -> str:
    hollow = " hollow" if point["perplexity_ratio"].after.mean > PERPLEXITY_TARGET else ""
    class_ = f"mark {_colour(curve)}{hollow}"
    words = title(
        f"{curve.label} at strength {tick_text(point.strength)}: {number(point[main].after.mean, 'share')} "
        f"{plain_bounds(point[main].after, 'share')}, "
        f"KL {'≤ ' if point.kl_is_bound else ''}{number(_kl(point))}, "
        f"perplexity {number(point['perplexity_ratio'].after.mean, 'ratio')}×"
    )
    x, y = place
    if not curve.graded:
        return element("path", words, d=f"M{x:g} {y - 6:g} l6 6 l-6 6 l-6 -6 Z", class_=class_)
    return element("circle", words, cx=x, cy=y, r=4.6 if point.strength == 1.0 else 3.0, class_=class_)


def dose_plot(comparison: Comparison, curve: Curve, wide: bool = False) -> str:
    """One control's dose-response: both sides with their intervals, its null in grey.

    Args:
        comparison: Where it belongs, for the main quantity and the null.
        curve: The control.
        wide: Twice the size, for a sweep.
    """
    points = curve.points
    if len(points) < 2:
        return ""
    width, height = (620.0, 300.0) if wide else (310.0, 190.0)
    strengths = [p.strength for p in points]
    x = Scale(min(strengths), max(strengths), 40.0, width - 12.0)
    y = Scale(0.0, 1.0, height - 34.0, 10.0)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        if value in (0.0, 0.5, 1.0):
            parts.append(text(x.start - 7, y(value) + 4, f"{value:.0%}", "tick", "end"))
    parts.append(line(x.start, y(CLAIM_TARGET), x.end, y(CLAIM_TARGET), "target"))
    parts.append(line(x(0.0), y.start, x(0.0), y.end, "axis-line"))
    parts += _strength_ticks(x, y, strengths)
    null = next((c for c in comparison.curves if c.null_of == curve.label), None)
    if null is not None:
        parts.append(
            path([(x(p.strength), y(p[comparison.main].after.mean)) for p in null.points], "curve null")
        )
    sides = [("claim-side", comparison.main)]
    if comparison.main == "claim_share":
        sides.insert(0, ("against-side", "against_share"))
    for class_, name in sides:
        parts += _series(curve, points, name, class_, x, y)
    parts.append(text((x.start + x.end) / 2, height - 3, "strength", "tick", "middle"))
    return drawing(width, height, parts, f"Dose-response of {curve.label}.")


def _strength_ticks(x: Scale, y: Scale, strengths: Sequence[float]) -> list[str]:
    parts, last = [], -math.inf
    for value in strengths:
        label = tick_text(value)
        half = CHARACTER * len(label) / 2
        whole = value == int(value)
        crowded = any(
            other != value and abs(x(other) - x(value)) < half + 12
            for other in strengths
            if other == int(other)
        )
        if x(value) - half < last or (crowded and not whole):
            continue
        last = x(value) + half + 3
        parts.append(text(x(value), y.start + 15, label, "tick", "middle"))
    return parts


def _series(curve: Curve, points: Sequence[Point], name: str, class_: str, x: Scale, y: Scale) -> list[str]:
    known = [(p, p[name].after) for p in points]
    bounded = [(p, v) for p, v in known if math.isfinite(v.low) and math.isfinite(v.high)]
    parts = []
    if curve.graded:
        upper = [(x(p.strength), y(v.high)) for p, v in bounded]
        lower = [(x(p.strength), y(v.low)) for p, v in bounded]
        parts += [band(upper, lower, f"band {class_}")]
        parts += [path([(x(p.strength), y(v.mean)) for p, v in known], f"curve {class_}")]
    else:
        parts += [
            line(x(p.strength), y(v.low), x(p.strength), y(v.high), f"bar {class_}") for p, v in bounded
        ]
    for p, v in known:
        hollow = " hollow" if p["perplexity_ratio"].after.mean > PERPLEXITY_TARGET else ""
        words = title(
            f"strength {tick_text(p.strength)}: {number(v.mean, 'share')} {plain_bounds(v, 'share')}"
        )
        parts.append(
            element("circle", words, cx=x(p.strength), cy=y(v.mean), r=2.8, class_=f"mark {class_}{hollow}")
        )
    return parts


def bystander_plot(comparison: Comparison) -> str:
    """Shift of every bystander dipole under every control at strength 1; empty where none was measured."""
    rows = [(c, p.bystanders) for c in comparison.curves if (p := c.at(1.0)) is not None and p.bystanders]
    if not rows:
        return ""
    names = _ranked([b for _, row in rows for b in row])
    reach = max(0.05, max(abs(b.shift.mean) for _, row in rows for b in row if math.isfinite(b.shift.mean)))
    left = 16 + CHARACTER * max(len(c.label) for c, _ in rows)
    top = 22 + 0.8 * CHARACTER * max(len(one) for one in names)
    side = min(34.0, (960.0 - left) / len(names))
    height = top + 26.0 * len(rows) + 4
    parts = []
    for column, name in enumerate(names):
        at = left + (column + 0.5) * side
        parts.append(text(at + 3, top - 6, name, "tick", transform=f"rotate(-50 {at + 3:.1f} {top - 6:.1f})"))
    for row, (curve, shifts) in enumerate(rows):
        y = top + 26.0 * row
        parts.append(text(left - 8, y + 17, curve.label, f"label {_colour(curve)}", "end"))
        by_name = {b.name: b for b in shifts}
        for column, name in enumerate(names):
            if (found := by_name.get(name)) is not None:
                parts.append(_cell(found, left + column * side, y, side, reach))
    return drawing(
        left + side * len(names) + 60, height, parts, "Shift of the bystanders under each control."
    )


def _cell(bystander: Bystander, x: float, y: float, side: float, reach: float) -> str:
    shift = bystander.shift
    words = title(
        f"{bystander.name}: {number(bystander.before, 'probability')} to "
        f"{number(bystander.after, 'probability')}, "
        f"shift {change(shift.mean, 'probability')} {plain_bounds(shift, 'probability')}"
    )
    if not math.isfinite(shift.mean):
        return element("rect", words, x=round(x, 1), y=y, width=side - 2, height=24, class_="cell unknown")
    tone = "up" if shift.mean >= 0 else "down"
    strong = round(0.04 + 0.86 * abs(shift.mean) / reach, 3)
    box = element(
        "rect", words, x=round(x, 1), y=y, width=round(side - 2, 1), height=24,
        class_=f"cell {tone}", fill_opacity=strong,
    )  # fmt: skip
    digits = change(100 * shift.mean, "").split(".")[0]
    if not shift.excludes_zero or not digits.strip("+0\u2212"):
        return box
    return box + text(
        x + side / 2 - 1, y + 16, digits, "cell-text strong" if strong > 0.55 else "cell-text", "middle"
    )


def _ranked(bystanders: Sequence[Bystander]) -> list[str]:
    """Names, those that move most first."""
    sizes: dict[str, float] = {}
    for b in bystanders:
        size = abs(b.shift.mean) if math.isfinite(b.shift.mean) else 0.0
        sizes[b.name] = sizes.get(b.name, 0.0) + size
    return sorted(sizes, key=lambda name: -sizes[name])


def kl_limit(comparison: Comparison) -> float:
    """Where the plot of the effect ends: a strength far beyond use would press all else to the left."""
    ones = [one for curve in comparison.curves if (one := curve.at(1.0)) is not None]
    fluent = [_kl(one) for one in ones if one["perplexity_ratio"].after.mean <= PERPLEXITY_TARGET]
    return max(4.0, 1.5 * max(fluent, default=0.0))


def _upward(curve: Curve, limit: float) -> list[Point]:
    """Points above strength 0 as far as the curve stays within the limit."""
    points = []
    for point in curve.points:
        if point.strength > 0:
            if _kl(point) > limit:
                break
            points.append(point)
    return points


def _kl(point: Point) -> float:
    value = point["kl"].after.mean
    return value if math.isfinite(value) else 0.0


def _base(comparison: Comparison) -> float:
    return comparison.base[comparison.main].after.mean


def _colour(curve: Curve) -> str:
    return "null" if curve.null_of else f"s-{curve.surface}"
