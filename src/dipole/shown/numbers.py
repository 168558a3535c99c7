"""Numbers as a reader wants them: by unit, with a true minus sign, and never more digits than they have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from dipole.effects import Interval

MINUS = "\u2212"
NONE = "\u2013"
_BLOCKS = "▁▂▃▄▅▆▇█"


def number(value: float | None, unit: str = "") -> str:
    """A value in its unit, such as `94.5%`, `1.38` or `0.93`; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}∞"
    if unit == "share":
        return _signed(f"{100 * value:.1f}") + "%"
    return _signed(_digits(value, unit))


def change(value: float | None, unit: str = "") -> str:
    """A difference with its sign; a share's is in percentage points, without the percent sign."""
    if value is None or not math.isfinite(value):
        return number(value, unit)
    text = f"{100 * value:.1f}" if unit == "share" else _digits(value, unit)
    text = _signed(text)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def bounds(interval: Interval | None, unit: str = "") -> str:
    """`[low, high]` of an interval of differences; empty where there is none."""
    if interval is None or math.isnan(interval.low) or math.isnan(interval.high):
        return ""
    return f"[{change(interval.low, unit)}, {change(interval.high, unit)}]"


def plain_bounds(interval: Interval | None, unit: str = "") -> str:
    """`[low, high]` of an interval of values; empty where there is none."""
    if interval is None or math.isnan(interval.low) or math.isnan(interval.high):
        return ""
    return f"[{number(interval.low, unit)}, {number(interval.high, unit)}]"


def unit_label(unit: str, label: str = "") -> str:
    """The unit as a reader calls it, without what the label already says; empty where none is needed."""
    if unit in ("", "share", "ratio") or unit in label:
        return ""
    quantity, _, per = unit.partition("/")
    return f"{quantity} a {per}" if per and f"a {per}" not in label else quantity


def _digits(value: float, unit: str) -> str:
    """A fixed number of decimals a unit, so that the columns of a table line up; fewer from 10 on."""
    size = abs(value)
    if unit == "probability":
        return f"{value:.3f}"
    if size >= 1e5:
        return f"{value:.1e}"
    if size >= 10:
        return f"{value:.0f}" if size >= 100 else f"{value:.1f}"
    return f"{value:.3f}" if unit in ("nats/token", "ratio") else f"{value:.2f}"


def _signed(text: str) -> str:
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.") else MINUS + text[1:]
    return text


def duration(seconds: float) -> str:
    """`8.3 s`, `2 min 5 s` or `1 h 4 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def sparkline(values: Iterable[float], width: int = 40) -> str:
    """A line of block characters from the lowest value to the highest; NaN leaves a gap."""
    series = list(values)
    if len(series) > width:  # the mean of each of `width` stretches
        cuts = [i * len(series) // width for i in range(width + 1)]
        series = [_mean(series[a:b]) for a, b in pairwise(cuts)]
    finite = [v for v in series if math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(_BLOCKS[min(7, int(8 * (v - low) / span))] if math.isfinite(v) else " " for v in series)


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan
