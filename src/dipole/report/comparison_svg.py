"""Small pieces of inline SVG in the page's own colours: scales, axes, marks, labels that keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from dipole.shown.numbers import MINUS
from dipole.shown.text import one_line

CHARACTER = 7.0
"""Mean width of a character of label text, in the units of the drawing."""
LINE = 13.0


class Scale(NamedTuple):
    """A straight map from data to the drawing.

    Attributes:
        low: Data value at `start`.
        high: Data value at `end`.
        start: Place of `low`.
        end: Place of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of a value; what lies outside is put on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float


class Wish(NamedTuple):
    """A label that is to be placed near one of several points.

    Attributes:
        text: What it says.
        near: Points in order of preference.
    """

    text: str
    near: Sequence[tuple[float, float]]


class Placed(NamedTuple):
    """A label with the place of its first letter's left end of the baseline."""

    text: str
    x: float
    y: float


def element(name: str, inside: str = "", **attributes: float | str) -> str:
    """An element; `_` in a name of an attribute becomes `-`, and `class_` is `class`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def title(text: str) -> str:
    """What a reader sees when pointing at the element that holds it."""
    return f"<title>{escape(one_line(text))}</title>"


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start", **more: float | str) -> str:
    """A line of text."""
    return element(
        "text", escape(one_line(words)), x=round(x, 1), y=round(y, 1), class_=class_,
        text_anchor=anchor, **more,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> str:
    """A line through points; empty for fewer than two."""
    if len(points) < 2:
        return ""
    steps = " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))
    return element("path", d=steps, class_=class_)


def band(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], class_: str) -> str:
    """The area between two lines over the same x; empty for fewer than two points."""
    if len(upper) < 2:
        return ""
    steps = " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate([*upper, *lower[::-1]]))
    return element("path", d=f"{steps} Z", class_=class_)


def drawing(width: float, height: float, parts: Sequence[str], description: str) -> str:
    """The SVG element that holds all parts."""
    # Text keeps the size of the page's, so a small drawing is not blown up to the page's width.
    opening = (
        f'<svg class="plot drawn" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width: {1.1 * width:.0f}px"'
    )
    return f'{opening} aria-label="{escape(one_line(description))}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within a range, at most so many."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / max(1, most - 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A number on an axis, with a true minus sign."""
    return f"{value:g}".replace("-", MINUS)


def place_labels(
    wishes: Sequence[Wish],
    points: Sequence[tuple[float, float]],
    segments: Sequence[tuple[float, float, float, float]],
    frame: Box,
) -> list[Placed]:
    """Put each label beside one of its points where it covers least, one after the other.

    Args:
        wishes: Labels with their points.
        points: Marks that should stay in sight.
        segments: Lines that should be crossed as little as possible.
        frame: Labels stay within it.
    """
    taken: list[Box] = []
    placed = []
    for wish in wishes:
        width = CHARACTER * len(wish.text)
        best: tuple[float, Placed, Box] | None = None
        for rank, (x, y) in enumerate(wish.near):
            for side, (left, baseline) in enumerate(_sides(x, y, width)):
                box = Box(left, baseline - 0.75 * LINE, left + width, baseline + 0.25 * LINE)
                cost = 0.6 * rank + 0.1 * side + _cost(box, taken, points, segments, frame)
                if best is None or cost < best[0]:
                    best = (cost, Placed(wish.text, left, baseline), box)
        if best is not None:
            taken.append(best[2])
            placed.append(best[1])
    return placed


def _sides(x: float, y: float, width: float) -> list[tuple[float, float]]:
    gap = 8.0
    middle = y + 0.25 * LINE
    return [
        (x + gap, middle),
        (x - gap - width, middle),
        (x - width / 2, y - gap),
        (x - width / 2, y + gap + 0.75 * LINE),
        (x + gap * 0.7, y - gap * 0.8),
        (x + gap * 0.7, y + gap * 0.8 + 0.6 * LINE),
        (x - gap * 0.7 - width, y - gap * 0.8),
        (x - gap * 0.7 - width, y + gap * 0.8 + 0.6 * LINE),
    ]


def _cost(
    box: Box,
    taken: Sequence[Box],
    points: Sequence[tuple[float, float]],
    segments: Sequence[tuple[float, float, float, float]],
    frame: Box,
) -> float:
    outside = max(
        frame.left - box.left, box.right - frame.right, frame.top - box.top, box.bottom - frame.bottom
    )
    cost = 100.0 + outside if outside > 0 else 0.0
    cost += 20.0 * sum(1 for other in taken if _overlap(box, other))
    cost += 4.0 * sum(
        1 for x, y in points if box.left - 3 < x < box.right + 3 and box.top - 3 < y < box.bottom + 3
    )
    cost += 2.0 * sum(1 for segment in segments if _crosses(box, segment))
    return cost


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _crosses(box: Box, segment: tuple[float, float, float, float]) -> bool:
    """Whether a segment runs through a box (Liang and Barsky 1984)."""
    x1, y1, x2, y2 = segment
    start, end = 0.0, 1.0
    for change, room in (
        (x1 - x2, x1 - box.left),
        (x2 - x1, box.right - x1),
        (y1 - y2, y1 - box.top),
        (y2 - y1, box.bottom - y1),
    ):
        if change == 0:
            if room < 0:
                return False
        elif change < 0:
            start = max(start, room / change)
        else:
            end = min(end, room / change)
    return start <= end
