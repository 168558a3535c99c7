"""Weights of rows by nearness to an anchor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipole.stitching.nearness import BINS, MOST, CosineCounts, near
from dipole.stitching.ridge import Moments, solve
from tolerance import ESTIMATE, MOMENTS


def cloud(n: int = 4000, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(n, width, generator=generator, dtype=torch.float64) @ mix + 7.0


def test_cosines_are_those_of_whitened_rows() -> None:
    x = cloud()
    anchors = x[:3] + 1.0
    covariance = torch.cov(x.T, correction=0)
    made = near(x.mean(0), covariance, anchors, power=2.0)
    ridge = 1e-3 * float(np.trace(covariance.numpy())) / 6
    inverse = np.linalg.inv(covariance.numpy() + ridge * np.eye(6))
    anchor = (anchors.mean(0) - x.mean(0)).numpy()
    for row, cosine in zip(x[:50].numpy() - x.mean(0).numpy(), made.cosines(x[:50]), strict=True):
        wanted = row @ inverse @ anchor / np.sqrt((row @ inverse @ row) * (anchor @ inverse @ anchor))
        assert float(cosine) == pytest.approx(max(0.0, wanted), abs=MOMENTS)
    torch.testing.assert_close(made.weights(x), made.cosines(x) ** 2, atol=MOMENTS, rtol=0)
    assert float(made.cosines(anchors.mean(0)[None])) == pytest.approx(1.0, abs=MOMENTS)


def test_effective_rows_from_counts_are_those_of_the_weights() -> None:
    cosines = torch.rand(20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cosines = (2 * cosines - 1).clamp(min=0)  # half of them 0, as those of rows on the far side
    counts = CosineCounts()
    for part in cosines.split(777):
        counts.add(part)
    for power in (0.0, 0.2, 1.0, 3.5):
        w = cosines**power
        assert counts.effective(power) == pytest.approx(float(w.sum() ** 2 / (w**2).sum()), rel=ESTIMATE / 10)
    assert counts.effective(0.0) == 20000
    assert len(counts.counts) == BINS


@pytest.mark.parametrize("wanted", [19999.0, 5000.0, 3000.0])
def test_the_power_leaves_the_rows_that_are_wanted(wanted: float) -> None:
    counts = CosineCounts()
    counts.add(torch.rand(20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    power = counts.largest_power(wanted)
    assert counts.effective(power) == pytest.approx(wanted, rel=1e-6)
    assert counts.effective(power * 1.01) < wanted


def test_too_few_rows_are_weighted_equally_and_many_near_ones_as_steeply_as_may_be() -> None:
    counts = CosineCounts()
    counts.add(torch.rand(100))
    assert counts.largest_power(101) == 0.0
    same = CosineCounts()
    same.add(torch.ones(100))
    assert same.largest_power(99) == pytest.approx(MOST)


def test_a_local_rule_is_found_where_one_rule_for_all_rows_is_not() -> None:
    """Rows around two places, with a rule of their own at each: the anchor lies at the first."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    places, rules = 6 * torch.linalg.qr(draw(8, 8)).Q[:2], (draw(8, 5), draw(8, 5))
    x = torch.cat([draw(3000, 8) + place for place in places])
    y = torch.cat([part @ rule for part, rule in zip(x.split(3000), rules, strict=True)])
    made = near(x.mean(0), torch.cov(x.T, correction=0), places[:1], power=6.0)
    weighted, even = Moments(), Moments()
    weighted.add(x, y, made.weights(x))
    even.add(x, y)
    vector = draw(8)
    wanted = vector @ rules[0]
    cosines = [
        float(torch.cosine_similarity(solve(m).vectors(vector), wanted, dim=0)) for m in (weighted, even)
    ]
    assert cosines[0] > 0.99 > 0.9 > cosines[1]
