"""One map of a basin: a tile a start's precision and recall, the separatrix, and where bad starts end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dipole.pointing.grid import INSIDE, End
from dipole.report import comparison_svg as svg

Array = NDArray[np.float64]
# End F1 over the ceiling. Land is sand, water is blue-green, and the shore lies at 0.95.
SHADES: tuple[tuple[float, str], ...] = (
    (0.5, "#efe2c6"),
    (0.7, "#e3d2a4"),
    (0.85, "#b9cfae"),
    (0.95, "#4fa6a3"),
    (1.0, "#0f5c6e"),
)
FATE_COLOURS: dict[str, str] = {
    "share": "#f4f1e8",
    "all": "#111418",
    "none": "#8d939b",
    "complement": "#7a4fb5",
    "flavour": "#c2362b",
    "either": "#e8842c",
    "start": "#2757a8",
    "part": "#3f7d35",
    "wider": "#d8559f",
    "other": "#7b5a3a",
}
_LEFT, _TOP, _PLOT, _RIGHT, _BOTTOM = 54.0, 10.0, 384.0, 14.0, 48.0
_GAP = 1.5


def held_band() -> tuple[float, float]:
    """Recall over precision, r, at which as many labels as the start's can be inside.

    At best their F1 is `2 min(1, r) / (1 + r)`.
    """
    return INSIDE / (2 - INSIDE), (2 - INSIDE) / INSIDE


def basin_map(ends: Sequence[End], values: Sequence[float], own: End | None, held: bool) -> str:
    """The map of one method and one kind of error.

    Args:
        ends: Its starts.
        values: Values of precision, and of recall, from low to high.
        own: The start at the topic's own labels, to be marked.
        held: Whether the number of positives was held, so that the band is drawn that it can come from.
    """
    n = len(values)
    tile = _PLOT / n
    ratios = np.full((n, n), np.nan)
    parts = []
    for row, recall in enumerate(values):
        for column, precision in enumerate(values):
            here = [e for e in ends if e.precision == precision and e.recall == recall]
            made = [e for e in here if e.layer >= 0]
            if made:
                ratios[row, column] = np.mean([min(1.0, e.f1 / max(e.ceiling, 1e-12)) for e in made])
            parts.append(
                _tile(column * tile, _PLOT - (row + 1) * tile, tile, made, here, ratios[row, column])
            )
    step = float(values[-1] - values[0]) / (n - 1)
    scale = _Places(float(values[0]) - step / 2, float(values[-1]) + step / 2)
    if held:
        parts += [_ray(scale, slope) for slope in held_band()]
    parts += [svg.path([scale(x, y) for x, y in line], "shore") for line in shores(ratios, values)]
    parts += _axes(scale, values)
    if own is not None:
        parts += _mark(scale, own)
    return svg.drawing(
        _LEFT + _PLOT + _RIGHT, _TOP + _PLOT + _BOTTOM, parts,
        "End F1 by the precision and recall of the start, with the separatrix",
    )  # fmt: skip


class _Places:
    """From precision and recall to the drawing."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.x = svg.Scale(low, high, _LEFT, _LEFT + _PLOT)
        self.y = svg.Scale(low, high, _TOP + _PLOT, _TOP)

    def __call__(self, precision: float, recall: float) -> tuple[float, float]:
        return self.x(precision), self.y(recall)


def shade(ratio: float) -> str:
    """Colour of an end F1 over the ceiling."""
    at = [stop for stop, _ in SHADES]
    channels = [[int(colour[k : k + 2], 16) for _, colour in SHADES] for k in (1, 3, 5)]
    return "#" + "".join(f"{round(float(np.interp(ratio, at, channel))):02x}" for channel in channels)


def shores(ratios: Array, values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Lines of (precision, recall) along which the end F1 is 0.95 of the ceiling, to the edge of the tiles.

    Args:
        ratios: `(recalls, precisions)`, NaN where no start could be made.
        values: Of both axes.
    """
    from contourpy import contour_generator

    if not np.isfinite(ratios).any():
        return []
    step = (values[-1] - values[0]) / (len(values) - 1)
    at = np.array([values[0] - step / 2, *values, values[-1] + step / 2])
    padded = np.ma.masked_invalid(np.pad(ratios, 1, mode="edge"))
    lines = contour_generator(at, at, padded).lines(INSIDE)
    return [[(float(x), float(y)) for x, y in np.asarray(line)] for line in lines]


def _tile(x: float, y: float, size: float, made: Sequence[End], here: Sequence[End], ratio: float) -> str:
    if not here:
        return ""
    place = {"x": round(_LEFT + x + _GAP / 2, 1), "y": round(_TOP + y + _GAP / 2, 1)}
    square = {**place, "width": round(size - _GAP, 1), "height": round(size - _GAP, 1), "rx": 3}
    at = f"precision {here[0].precision:.2f}, recall {here[0].recall:.2f}"
    if not made:
        return svg.element("rect", svg.title(f"{at}: no such start"), class_="empty", **square)
    fates = [e.fate for e in made]
    counts = ", ".join(f"{fate} {fates.count(fate)}" for fate in dict.fromkeys(sorted(fates)))
    said = f"{at}: F1 {np.mean([e.f1 for e in made]):.2f}, {counts}"
    parts = [svg.element("rect", svg.title(said), fill=shade(ratio), **square)]
    lost = sorted((e.fate for e in made if not e.inside), key=list(FATE_COLOURS).index)
    return "".join(parts + _dots(_LEFT + x + size / 2, _TOP + y + size / 2, size, lost))


def _dots(x: float, y: float, size: float, fates: Sequence[str]) -> list[str]:
    """A dot for each start that is lost, in rows about the middle of its tile."""
    if not fates:
        return []
    across = int(np.ceil(np.sqrt(len(fates))))
    rows = [fates[k : k + across] for k in range(0, len(fates), across)]
    pitch = min(13.0, 0.8 * size / max(across, len(rows)))
    dots = []
    for r, row in enumerate(rows):
        for k, fate in enumerate(row):
            cx, cy = x + (k - (len(row) - 1) / 2) * pitch, y + (r - (len(rows) - 1) / 2) * pitch
            dots.append(
                svg.element(
                    "circle",
                    cx=round(cx, 1),
                    cy=round(cy, 1),
                    r=round(0.38 * pitch, 1),
                    class_="lost",
                    fill=FATE_COLOURS[fate],
                )
            )
    return dots


def _ray(scale: _Places, slope: float) -> str:
    """The part of `recall = slope * precision` that lies in the plot."""
    start = max(scale.low, scale.low / slope)
    end = min(scale.high, scale.high / slope)
    return svg.line(*scale(start, slope * start), *scale(end, slope * end), "ray") if end > start else ""


def _axes(scale: _Places, values: Sequence[float]) -> list[str]:
    every = max(1, round(len(values) / 8))
    shown = [v for k, v in enumerate(values) if (len(values) - 1 - k) % every == 0]
    bottom = _TOP + _PLOT
    parts = [svg.text(scale.x(v), bottom + 16, f"{v:.2f}", "tick", "middle") for v in shown]
    parts += [svg.text(_LEFT - 7, scale.y(v) + 4, f"{v:.2f}", "tick", "end") for v in shown]
    parts.append(svg.text(_LEFT + _PLOT / 2, bottom + 38, "precision of the start", "axis-name", "middle"))
    middle = _TOP + _PLOT / 2
    parts.append(
        svg.text(
            14, middle, "recall of the start", "axis-name", "middle", transform=f"rotate(-90 14 {middle})"
        )
    )
    return parts


def _mark(scale: _Places, own: End) -> list[str]:
    """A ring where the topic's own labels lie, at the edge where they lie outside of the map."""
    x, y = scale(own.precision, own.recall)
    inset = 9.0
    x = min(max(x, _LEFT + inset), _LEFT + _PLOT - inset)
    y = min(max(y, _TOP + inset), _TOP + _PLOT - inset)
    left = x > _LEFT + 0.72 * _PLOT
    said = f"the topic’s own labels: precision {own.precision:.2f}, recall {own.recall:.2f}"
    return [
        svg.element("circle", cx=x, cy=y, r=7.5, class_="own-halo"),
        svg.element("circle", svg.title(said), cx=x, cy=y, r=7.5, class_="own"),
        svg.text(x + (-13 if left else 13), y + 4.5, "the topic", "own-name", "end" if left else "start"),
    ]
