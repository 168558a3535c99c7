"""Directions from soft labels: the identity, the theorem of independent errors, and what words do to it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dipole.pointing.difference import residual, weighted_difference
from dipole.types import UserError
from tolerance import IDENTITY, MOMENTS

Array = NDArray[np.float64]
N, D, SEPARATION = 20_000, 16, 3.0


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def world(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Array]:
    """Truth, words that are there or not whatever the truth is, and features that show both."""
    rng = np.random.default_rng(seed)
    truth, crime = rng.random(N) < 0.4, rng.random(N) < 0.5
    features = rng.normal(size=(N, D))
    features[:, 0] += SEPARATION * truth
    features[:, 1] += SEPARATION * crime
    return truth, crime, features


def test_it_is_the_covariance_over_the_variance_of_a_coin() -> None:
    rng = np.random.default_rng(0)
    q, h = rng.random(500), rng.normal(size=(500, 7)) + 3
    want = np.array([np.mean((q - q.mean()) * (h[:, j] - h[:, j].mean())) for j in range(7)])
    want /= q.mean() * (1 - q.mean())
    np.testing.assert_allclose(weighted_difference(q, h), want, atol=IDENTITY, rtol=0)


def test_of_hard_labels_it_is_the_difference_of_means() -> None:
    rng = np.random.default_rng(1)
    q, h = (rng.random(300) < 0.2), rng.normal(size=(300, 5))
    want = h[q].mean(0) - h[~q].mean(0)
    np.testing.assert_allclose(weighted_difference(q.astype(float), h), want, atol=IDENTITY, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_independent_errors_only_shorten_it(seed: int) -> None:
    truth, _, features = world(seed)
    rng = np.random.default_rng(100 + seed)
    flipped = rng.random(N) < np.where(truth, 0.3, 0.1)
    weak = truth ^ flipped
    true, noisy = (weighted_difference(y.astype(float), features) for y in (truth, weak))
    assert cosine(true, noisy) > 0.99
    shorter = truth[weak].mean() - truth[~weak].mean()
    assert np.linalg.norm(noisy) / np.linalg.norm(true) == pytest.approx(shorter, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_errors_that_follow_words_turn_it_and_residuals_turn_it_back(seed: int) -> None:
    truth, crime, features = world(seed)
    rng = np.random.default_rng(200 + seed)
    says = np.select([truth & crime, truth, crime], [0.95, 0.5, 0.5], 0.02)
    weak = (rng.random(N) < says).astype(float)
    words = rng.poisson(np.where(crime, 2.0, 0.05)[:, None], (N, 8)).astype(float)
    true = weighted_difference(truth.astype(float), features)
    assert cosine(true, weighted_difference(weak, features)) < 0.8
    assert cosine(true, weighted_difference(weak, residual(features, words))) > 0.99


def test_a_residual_is_what_least_squares_leaves() -> None:
    rng = np.random.default_rng(3)
    words = rng.poisson(1.0, (200, 4)).astype(float)
    features = words @ rng.normal(size=(4, 6)) + rng.normal(size=(200, 6)) + 5
    got = residual(features, words, ridge=0.0)
    design = np.column_stack([words, np.ones(200)])
    left = features - design @ np.linalg.lstsq(design, features, rcond=None)[0]
    np.testing.assert_allclose(got - got.mean(0), left, atol=MOMENTS, rtol=0)
    np.testing.assert_allclose(got.mean(0), features.mean(0), atol=MOMENTS, rtol=0)


def test_words_that_say_nothing_or_the_same_change_nothing_or_do_not_break() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(50, 3))
    np.testing.assert_array_equal(residual(features, np.zeros((50, 0))), features)
    np.testing.assert_allclose(residual(features, np.ones((50, 2))), features, atol=MOMENTS)
    twice = np.repeat(rng.poisson(1.0, (50, 1)).astype(float), 2, axis=1)
    np.testing.assert_allclose(residual(features, twice), residual(features, twice[:, :1]), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_labels_on_one_side_are_refused(value: float) -> None:
    with pytest.raises(UserError, match="every document on one side"):
        weighted_difference(np.full(5, value), np.ones((5, 2)))
