"""The ridge map: exact cases, an independent solution, and that the bias stays out of vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from dipole.stitching.ridge import Map, Moments, add_shared, choose, fvu, solve, solve_all, spectrum_of
from dipole.types import UserError
from tolerance import ESTIMATE, FLOAT32_SUM, MOMENTS, STITCH_FVU, STITCH_IDENTITY


def rows(n: int, width: int, seed: int = 0) -> Tensor:
    """Correlated rows far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(n, width, generator=generator, dtype=torch.float64) @ mix + 50.0


def moments(x: Tensor, y: Tensor, weights: Tensor | None = None, batch: int = 37) -> Moments:
    made = Moments()
    for at in range(0, len(x), batch):
        made.add(
            x[at : at + batch], y[at : at + batch], None if weights is None else weights[at : at + batch]
        )
    return made


def rotation(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q


def test_a_layer_onto_itself_is_the_identity() -> None:
    """Recipe 2 (e) 1."""
    x = rows(400, 24)
    made = solve(moments(x, x))
    assert float((made.matrix - torch.eye(24)).abs().max()) < STITCH_IDENTITY
    assert float(made.bias.abs().max()) < STITCH_IDENTITY


def test_a_rotated_copy_is_rotated_back() -> None:
    """Recipe 2 (e) 1: h' = h R gives A = R^T, and the transferred vector v R^T."""
    turn, y = rotation(24), rows(400, 24)
    made, held_out = solve(moments(y @ turn, y)), rows(100, 24, seed=1)
    torch.testing.assert_close(made.matrix, turn.T, atol=STITCH_IDENTITY, rtol=0)
    vector = rows(1, 24, seed=2)[0]
    torch.testing.assert_close(made.vectors(vector), vector @ turn.T, atol=STITCH_IDENTITY, rtol=0)
    assert fvu(made, moments(held_out @ turn, held_out)) < STITCH_FVU


class Biased(Map):
    """The published variant, which adds the bias to vectors too."""

    def vectors(self, rows: Tensor) -> Tensor:
        return self.points(rows)


def vectors_are_differences(made: Map, one: Tensor, other: Tensor) -> bool:
    zero = made.vectors(torch.zeros(len(one)))
    difference = made.points(one) - made.points(other)
    return bool(zero.abs().max() == 0) and torch.allclose(
        made.vectors(one - other), difference, atol=STITCH_IDENTITY, rtol=0
    )


def test_vectors_go_without_the_bias() -> None:
    """Recipe 2 (e) 2; the variant with the bias must fail it."""
    x = rows(300, 8)
    made = solve(moments(x, x @ rotation(8) + 3.0))
    assert float(made.bias.norm()) > 1.0
    assert vectors_are_differences(made, x[0], x[1])
    assert not vectors_are_differences(Biased(made.matrix, made.bias), x[0], x[1])


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_ridge_regression_of_scikit_learn(penalty: float, weighted: bool) -> None:
    x, noise = rows(300, 12), rows(300, 7, seed=3)
    y = x[:, :7] + 0.3 * noise
    weights = (
        torch.rand(300, generator=torch.Generator().manual_seed(4), dtype=torch.float64) if weighted else None
    )
    summed = moments(x, y, weights)
    alpha = penalty * float(torch.linalg.eigvalsh(summed.xx).mean())
    wanted = Ridge(alpha=alpha, solver="svd").fit(
        x.numpy(), y.numpy(), None if weights is None else weights.numpy()
    )
    made = solve(summed, penalty)
    np.testing.assert_allclose(made.matrix.numpy(), wanted.coef_.T, rtol=MOMENTS, atol=MOMENTS)
    np.testing.assert_allclose(made.bias.numpy(), wanted.intercept_, rtol=MOMENTS, atol=MOMENTS)


@pytest.mark.parametrize("weighted", [False, True])
def test_summed_moments_are_those_of_all_rows_at_once(weighted: bool) -> None:
    x, y = rows(211, 9).float(), rows(211, 5, seed=1).float()
    w = (
        torch.rand(211, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        if weighted
        else torch.ones(211).double()
    )
    made = moments(x, y, w if weighted else None)
    mean_x, mean_y = (np.average(z.double().numpy(), axis=0, weights=w.numpy()) for z in (x, y))
    cx, cy = x.double().numpy() - mean_x, y.double().numpy() - mean_y
    for found, wanted in (
        (made.mean_x, mean_x),
        (made.mean_y, mean_y),
        (made.xx, (cx * w.numpy()[:, None]).T @ cx),
        (made.xy, (cx * w.numpy()[:, None]).T @ cy),
        (made.yy, (cy**2 * w.numpy()[:, None]).sum(0)),
    ):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=MOMENTS, atol=MOMENTS)
    assert made.n == 211
    assert made.effective == pytest.approx(float(w.sum() ** 2 / (w**2).sum()), rel=FLOAT32_SUM)


def test_moments_keep_no_rows() -> None:
    def size(n: int) -> int:
        made = moments(rows(n, 8), rows(n, 6, seed=1))
        return sum(v.numel() for v in vars(made).values() if isinstance(v, Tensor))

    assert size(50) == size(5000) == 8 + 6 + 64 + 48 + 6


def test_rows_of_weight_0_say_nothing() -> None:
    x, y = rows(200, 6), rows(200, 4, seed=1)
    weights = torch.cat([torch.ones(150), torch.zeros(50)])
    some, half = moments(x, y, weights, batch=50), moments(x[:150], y[:150], batch=50)
    torch.testing.assert_close(solve(some, 1e-3).matrix, solve(half, 1e-3).matrix, atol=MOMENTS, rtol=MOMENTS)
    assert (some.n, some.effective) == (200, 150)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_that_share_x_are_those_summed_alone_and_hold_one_product(weighted: bool) -> None:
    x, outputs = rows(200, 12), [rows(200, 7, seed=3), rows(200, 5, seed=4)]
    weights = torch.rand(200, generator=torch.Generator().manual_seed(5)).double() if weighted else None
    if weights is not None:
        weights[:60] = 0.0  # whole batches of no weight, the first among them
    shared = [Moments(), Moments()]
    for at in range(0, 200, 37):
        part = slice(at, at + 37)
        add_shared(shared, x[part], (y[part] for y in outputs), None if weights is None else weights[part])
    for own, y in zip(shared, outputs, strict=True):
        w = torch.ones(200).double() if weights is None else weights
        mean_x, mean_y = w @ x / w.sum(), w @ y / w.sum()
        wanted = ((x - mean_x) * w[:, None]).T @ (y - mean_y)
        torch.testing.assert_close(own.xy, wanted, atol=MOMENTS, rtol=MOMENTS)
        torch.testing.assert_close(own.yy, w @ (y - mean_y) ** 2, atol=MOMENTS, rtol=MOMENTS)
        alone = moments(x, y, weights)
        torch.testing.assert_close(
            choose(own, own, (1e-3,), spectrum_of(shared[0])).matrix,
            solve(alone, 1e-3).matrix,
            atol=0,
            rtol=0,
        )
        assert (own.n, own.weight, own.effective) == (alone.n, alone.weight, alone.effective)
    assert shared[0].xx is shared[1].xx


def test_fvu_is_the_quotient_of_residuals() -> None:
    x, other = rows(300, 10), rows(80, 10, seed=5)
    y, held_out = (z[:, :6] + 0.5 * rows(len(z), 6, seed=6) for z in (x, other))
    made = solve(moments(x, y), 1e-2)
    residual, spread = held_out - made.points(other), held_out - held_out.mean(0)
    wanted = float((residual**2).sum() / (spread**2).sum())
    assert fvu(made, moments(other, held_out)) == pytest.approx(wanted, rel=MOMENTS)
    assert 0.01 < wanted < 0.9
    assert np.isnan(fvu(made, Moments()))


def test_shuffled_pairs_explain_nothing() -> None:
    """Recipe 2 (e) 4."""
    x, other = rows(5000, 16).split((4000, 1000))
    turn = rotation(16)
    broken = solve(moments(x, (x @ turn)[torch.randperm(4000, generator=torch.Generator().manual_seed(0))]))
    assert fvu(broken, moments(other, other @ turn)) == pytest.approx(1.0, abs=ESTIMATE)


def test_lambda_is_the_best_on_other_rows() -> None:
    x, noise = rows(40, 30), torch.randn(40, 5, generator=torch.Generator().manual_seed(1)).double()
    y = x[:, :5] + 20 * noise
    other = rows(500, 30, seed=7)
    fit, choosing = moments(x, y), moments(other, other[:, :5])
    penalties = (0.0, 1e-4, 1e-2, 1.0, 100.0, 1e6)
    scores = [fvu(made, choosing) for made in solve_all(fit, penalties)]
    made = choose(fit, choosing, penalties)
    assert made.penalty == penalties[int(np.argmin(scores))]
    assert 0 < made.penalty < 1e6


def test_fewer_rows_than_dimensions_still_have_a_solution() -> None:
    x, y = rows(10, 30), rows(10, 4, seed=1)
    made = solve(moments(x, y))
    torch.testing.assert_close(made.points(x), y, atol=STITCH_IDENTITY, rtol=0)
    wanted = np.linalg.pinv((x - x.mean(0)).numpy(), rcond=1e-9) @ (y - y.mean(0)).numpy()
    np.testing.assert_allclose(made.matrix.numpy(), wanted, atol=STITCH_IDENTITY, rtol=0)


def test_bad_rows_are_refused() -> None:
    with pytest.raises(UserError, match="there are 0"):
        solve(Moments())
    broken = Moments()
    broken.add(torch.tensor([[1.0, float("inf")], [1.0, 2.0]]), torch.ones(2, 1))
    with pytest.raises(UserError, match="not finite"):
        solve(broken)
