"""The map of a basin."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dipole.pointing.fates import FATES
from dipole.pointing.grid import End
from dipole.pointing.said import sentences, shown_rows
from dipole.report.basin_map import FATE_COLOURS, basin_map, held_band, shade, shores

VALUES = (0.6, 0.8, 1.0)


def end(precision: float, recall: float, f1: float, fate: str, kind: str = "uniform", seed: int = 0) -> End:
    return End("mixture", kind, precision, recall, seed, f1, 0.9, 1.0, f1 >= 0.95, fate, 0.5, 3, True, 2)


def test_the_shore_lies_between_tiles_where_the_ends_cross_it() -> None:
    ratios = np.array([[0.9, 0.9, 0.98]] * 3)
    (line,) = shores(ratios, VALUES)
    at = 0.8 + 0.2 * (0.95 - 0.9) / (0.98 - 0.9)
    assert all(x == pytest.approx(at) for x, _ in line)
    assert sorted(y for _, y in line)[0] == pytest.approx(0.5)  # to the edge of the lowest tile
    assert sorted(y for _, y in line)[-1] == pytest.approx(1.1)
    assert shores(np.ones((3, 3)), VALUES) == []
    assert shores(np.full((3, 3), np.nan), VALUES) == []


def test_shades() -> None:
    assert shade(0.2) == shade(0.5) == "#efe2c6"
    assert shade(1.0) == "#0f5c6e"
    assert shade(0.6) == "#e9dab5"


def test_the_band_is_where_a_held_share_can_be_inside() -> None:
    low, high = held_band()
    for r in (low, high):
        assert 2 * min(1, r) / (1 + r) == pytest.approx(0.95)
    assert low < 1 < high


def test_every_fate_has_a_colour() -> None:
    assert set(FATE_COLOURS) == set(FATES) - {"notion"}


def test_a_dot_for_each_start_that_is_lost() -> None:
    ends = [end(p, r, 1.0, "notion") for p in VALUES for r in VALUES if (p, r) != (0.6, 0.8)]
    ends += [end(0.6, 0.8, 0.7, fate, seed=k) for k, fate in enumerate(("part", "all", "all"))]
    drawn = basin_map(ends, VALUES, None, held=False)
    colours = re.findall(r'class="lost" fill="(#\w+)"', drawn)
    assert sorted(colours) == sorted([FATE_COLOURS["part"], FATE_COLOURS["all"], FATE_COLOURS["all"]])
    assert "precision 0.60, recall 0.80: F1 0.70, all 2, part 1" in drawn
    assert drawn.count("<rect") == 9
    assert 'class="own"' not in drawn
    assert 'class="ray"' not in drawn


def test_the_topic_is_marked_within_the_frame() -> None:
    own = end(0.1, 0.8, 0.5, "other", "topic")
    drawn = basin_map([end(p, r, 1.0, "notion") for p in VALUES for r in VALUES], VALUES, own, held=True)
    x = float(re.search(r'class="own"', drawn) and re.search(r'cx="([\d.]+)"[^>]*class="own"', drawn)[1])  # type: ignore[index]
    assert 54 < x < 70  # at the left edge
    assert "precision 0.10, recall 0.80" in drawn
    assert drawn.count('class="ray"') == 2


def test_the_words() -> None:
    ends = [end(0.69, 0.87, 0.78, "start", "topic"), end(0.6, 0.6, 1.0, "notion"), end(0.6, 0.8, 0.5, "all")]
    assert sentences(ends) == [
        "mixture: of the starts 50% with uniform errors come to the notion; begun at the topic’s own labels "
        "it ends at F1 0.78."
    ]
    topic, uniform = shown_rows(ends)
    assert topic[:4] == ["mixture", "the topic itself", "1", "0%"]
    assert uniform == ["mixture", "uniform", "2", "50%", "0.75", "3", "everything 1"]
    assert shown_rows([end(0.6, 0.6, 0.5, "flavour")], "topic")[0][6] == "the topic’s own cluster 1"
