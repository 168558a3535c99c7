"""Reward and KL over the rounds as inline SVG in the page's own colours, which suit dark and light."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.effects import Bystander

# Drawn in colours that nothing else has, then exchanged for the page's custom properties.
_INK, _SOFT, _LINE, _ACCENT = "#010203", "#020304", "#030405", "#040506"
_ROLES = {_INK: "var(--ink)", _SOFT: "var(--soft)", _LINE: "var(--line)", _ACCENT: "var(--accent)"}
_SIZE = (4.8, 2.7)  # inches; beside each other they are about as wide on the page, so text keeps its size
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dipole",  # the same input gives the same file
    "font.size": 9.5,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "ytick.major.size": 0,
    "text.color": _SOFT,
    "text.parse_math": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def column(history: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One quantity over the rounds; NaN where a row does not have it."""
    return [_float(row.get(name)) for row in history]


def rounds(history: Sequence[Mapping[str, float]]) -> list[float]:
    """The number of each round; its place in the list, from 1, where the row does not say."""
    numbers = column(history, "round")
    return [n if math.isfinite(n) else float(i) for i, n in enumerate(numbers, start=1)]


def reward_plot(history: Sequence[Mapping[str, float]]) -> str:
    """Mean reward a round with a band of one standard deviation; empty where none was recorded."""
    mean, spread = column(history, "reward_mean"), column(history, "reward_std")
    if not any(map(math.isfinite, mean)):
        return ""
    with _styled():
        figure, axes = _axes("Reward", "score, mean ± sd")
        x = rounds(history)
        if any(map(math.isfinite, spread)):
            low = [m - s for m, s in zip(mean, spread, strict=True)]
            high = [m + s for m, s in zip(mean, spread, strict=True)]
            if all(0 <= m <= 1 for m in mean if math.isfinite(m)):  # a score can't leave 0 to 1
                low, high = [max(0.0, v) for v in low], [min(1.0, v) for v in high]
            axes.fill_between(x, low, high, color=_ACCENT, alpha=0.16, linewidth=0)
        _line(axes, x, mean)
        if all(0 <= m <= 1 for m in mean if math.isfinite(m)):
            axes.set_ylim(-0.02, 1.04)
        return _svg(figure, "reward", f"Mean reward a round, from {_ends(mean)}.")


def kl_plot(history: Sequence[Mapping[str, float]], target: float | None) -> str:
    """Divergence from the reference a round, the target as a dashed line; empty where none was recorded."""
    kl = column(history, "kl")
    finite = [v for v in kl if math.isfinite(v)]
    if not finite:
        return ""
    with _styled():
        figure, axes = _axes("Divergence from the base", "nats a sequence")
        x = rounds(history)
        top = max(finite)
        if target is not None:
            far = target > 3 * max(top, 0.1)  # a line so far above would flatten the curve
            if not far:
                axes.axhline(target, color=_SOFT, linewidth=1.1, linestyle=(0, (4, 3)))
                top = max(top, target)
            _remark(
                axes, f"target {target:g}" + (", above this plot" if far else ""), None if far else target
            )
        _line(axes, x, kl)
        axes.set_ylim(min(0.0, *finite, 0.0) * 1.1, top * 1.18 if top > 0 else 1.0)
        return _svg(figure, "kl", f"KL in nats a sequence, from {_ends(kl)}.")


def loss_plot(history: Sequence[Mapping[str, float]]) -> str:
    """Loss of the texts that were learned, a round; empty where none was recorded."""
    loss = column(history, "loss")
    if not any(map(math.isfinite, loss)):
        return ""
    with _styled():
        figure, axes = _axes("Loss", "nats a token")
        _line(axes, rounds(history), loss)
        return _svg(figure, "loss", f"Loss in nats a token, from {_ends(loss)}.")


def interval_bar(bystander: Bystander, reach: float) -> str:
    """One row of a forest plot: the shift's interval and its mean around a line at 0.

    Args:
        bystander: The row.
        reach: Shift at either end of the axis.
    """
    shift = bystander.shift
    if not math.isfinite(shift.mean):
        return ""

    def place(value: float) -> float:
        return round(100 * (0.5 + max(-1.0, min(1.0, value / reach)) / 2), 2)

    bar = ""
    if math.isfinite(shift.low) and math.isfinite(shift.high):
        low, high = place(shift.low), place(shift.high)
        bar = f'<line class="bar" x1="{low}%" x2="{high}%" y1="50%" y2="50%"/>'
    sure = "moved" if shift.excludes_zero else "still"
    return (
        f'<svg class="forest {sure}" aria-hidden="true">'
        '<line class="zero" x1="50%" x2="50%" y1="0" y2="100%"/>'
        f'{bar}<circle cx="{place(shift.mean)}%" cy="50%" r="3.2"/></svg>'
    )


def forest_reach(bystanders: Sequence[Bystander]) -> float:
    """Half the width of the forest plot's axis: a round number beyond every interval, at least 0.05."""
    ends = [abs(v) for b in bystanders for v in (b.shift.mean, b.shift.low, b.shift.high) if math.isfinite(v)]
    largest = max(ends, default=0.0)
    return next((step for step in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0) if largest <= step), max(1.0, largest))


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def _axes(title: str, subtitle: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_ylabel(subtitle)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.margins(x=0.02)
    return figure, axes


def _remark(axes: Any, text: str, height: float | None) -> None:
    """Text at the right, just above a height in data units or, for None, at the top of the plot."""
    place = {"xycoords": ("axes fraction", "data" if height is not None else "axes fraction")}
    at, lift = ((1.0, height), 4) if height is not None else ((1.0, 1.0), 2)
    axes.annotate(text, at, (0, lift), textcoords="offset points", ha="right", va="bottom", **place)


def _line(axes: Any, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_ACCENT, marker="o" if len(x) == 1 else None, markersize=4)


def _svg(figure: Any, name: str, description: str) -> str:
    """The figure as an SVG element without size, XML header, metadata, fonts or page-wide style."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser sets the text, so glyphs that matplotlib's font lacks do not matter.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: (bold |[0-9]+ )?([0-9.]+px)[^;\"]*", _font, svg)
    svg = re.sub(r"font-family:[^;\"]*;?", "", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = f'<svg class="plot" role="img" aria-label="{description}" {box.group() if box else ""}>'
    svg = re.sub(r"<svg[^>]*>", opening, svg, count=1).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)  # ids are the page's, not the plot's
    for colour, role in _ROLES.items():
        svg = svg.replace(colour, role)
    return svg


def _font(match: re.Match[str]) -> str:
    weight = (match.group(1) or "").strip()
    return f"font-size: {match.group(2)}" + (f"; font-weight: {weight}" if weight else "")


def _ends(values: Sequence[float]) -> str:
    finite = [v for v in values if math.isfinite(v)]
    return f"{finite[0]:.2f} to {finite[-1]:.2f}"


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
