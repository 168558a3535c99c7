"""Numbers as a reader sees them."""

from __future__ import annotations

import math

import pytest

from dipole.effects import Interval
from dipole.shown.numbers import bounds, change, duration, number, sparkline, unit_label


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.945, "share", "94.5%"),
        (1.4159, "nats/sequence", "1.42"),
        (0.0512, "nats/token", "0.051"),
        (1.0449, "ratio", "1.045"),
        (0.98249, "probability", "0.982"),
        (35.24, "", "35.2"),
        (123456.0, "", "1.2e+05"),
        (-0.5, "nats", "−0.50"),
        (-1e-17, "nats", "0.00"),
        (None, "share", "–"),
        (math.nan, "", "–"),
        (-math.inf, "", "−∞"),
    ],
)
def test_number(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.586, "share", "+58.6"), (-0.461, "share", "−46.1"), (0.0, "", "0.00"), (-2.8e-17, "ratio", "0.000")],
)
def test_change(value: float, unit: str, text: str) -> None:
    assert change(value, unit) == text


def test_bounds() -> None:
    assert bounds(Interval(0.1, -0.02, 0.3), "share") == "[−2.0, +30.0]"
    assert bounds(Interval(0.1, math.nan, math.nan), "share") == ""
    assert bounds(None) == ""


def test_unit_is_not_said_twice() -> None:
    assert unit_label("nats/sequence", "KL") == "nats a sequence"
    assert unit_label("nats/sequence", "KL, a sequence") == "nats"
    assert unit_label("probability", "velma probability") == ""
    assert unit_label("share") == ""


def test_duration() -> None:
    assert [duration(s) for s in (8.31, 125, 3840)] == ["8.3 s", "2 min 5 s", "1 h 4 min"]


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, math.nan, 1]) == "▁ ▁"
    assert sparkline([math.nan]) == ""
    assert sparkline(range(400), width=8) == "▁▂▃▄▅▆▇█"
