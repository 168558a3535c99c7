"""The one logistic regression, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dipole.probing.directions import labelled
from dipole.probing.logistic import logistic

FITTED = 1e-4  # two solvers of one convex problem


@pytest.mark.parametrize("standardise", [False, True], ids=["one scale", "standardised"])
@pytest.mark.parametrize(("rows", "width", "ridge"), [(40, 6, 1.0), (20, 200, 0.3), (60, 3, 5.0)])
def test_it_agrees_with_scikit_learn(rows: int, width: int, ridge: float, standardise: bool) -> None:
    draw = np.random.default_rng(rows)
    scales = 7.0 ** draw.integers(-1, 2, width)  # columns that differ in scale
    x = draw.standard_normal((rows, width)) * scales + 100
    y = (x[:, 0] - 100 + scales[0] * draw.standard_normal(rows) > 0).astype(float)
    found = logistic(torch.from_numpy(x), torch.from_numpy(y), ridge, standardise=standardise)
    size = x.std(0) if standardise else np.sqrt(((x - x.mean(0)) ** 2).sum() / rows)
    other = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit((x - x.mean(0)) / size, y)
    want = other.decision_function((x - x.mean(0)) / size)
    np.testing.assert_allclose(found.log_odds(torch.from_numpy(x)).numpy(), want, atol=FITTED, rtol=FITTED)
    np.testing.assert_allclose(found.weight.numpy(), other.coef_[0] / size, atol=FITTED, rtol=FITTED)


def test_it_stays_finite_on_separated_on_equal_and_on_one_sided_rows() -> None:
    claim, against = torch.eye(4)[:2] * 50, -torch.eye(4)[:2] * 50
    found = logistic(*labelled(claim, against), ridge=1e-6)
    assert bool(found.weight.isfinite().all())
    assert bool((found.log_odds(claim) > 0).all())
    same = logistic(torch.ones(6, 3), torch.tensor([1.0, 1, 1, 1, 0, 0]))
    assert float(same.log_odds(torch.ones(1, 3))[0]) == pytest.approx(np.log(2), abs=FITTED)
    one_sided = logistic(claim, torch.ones(2), standardise=True)
    assert np.isfinite(one_sided.bias)
    assert one_sided.bias > 5


def test_a_column_that_does_not_vary_takes_no_part() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=draw, dtype=torch.float64)
    y = (x[:, 0] > 0).double()
    padded = torch.cat([x, torch.full((50, 1), 0.1, dtype=torch.float64)], dim=1)
    for standardise in (False, True):
        with_it = logistic(padded, y, standardise=standardise)
        without = logistic(x, y, standardise=standardise)
        torch.testing.assert_close(with_it.log_odds(padded), without.log_odds(x))


def test_soft_targets_are_met() -> None:
    found = logistic(torch.zeros(2, 1), torch.tensor([0.9, 0.9]))
    assert found.bias == pytest.approx(np.log(9), abs=FITTED)


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_of_the_loss_is_zero_where_it_ends(seed: int) -> None:
    draw = np.random.default_rng(seed)
    x = torch.from_numpy(draw.standard_cauchy((30, 2)))  # far outliers, where a whole Newton step overshoots
    y = torch.from_numpy(draw.random(30))
    found = logistic(x, y, ridge=1e-3)
    size = (x - x.mean(0)).norm() / len(x) ** 0.5
    weight = (found.weight * size).requires_grad_()
    odds = ((x - x.mean(0)) / size) @ weight + found.bias + x.mean(0) @ found.weight
    loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, y, reduction="sum")
    (slope,) = torch.autograd.grad(loss + 1e-3 / 2 * weight.square().sum(), weight)
    assert float(slope.abs().max()) < FITTED
