"""What every way from a weak label to a probe promises, and what each is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dipole.pointing.methods import FIT, METHODS, Method, Weak
from dipole.types import UserError

Array = NDArray[np.float64]


def easy(n: int = 600) -> tuple[Array, Weak, NDArray[np.bool_]]:
    """Two clusters, and a weak label with random errors, as many documents too few as too many."""
    rng = np.random.default_rng(0)
    truth = rng.random(n) < 0.35
    rows = rng.normal(size=(n, 5)) * 0.3
    rows[:, 0] += np.where(truth, 1.0, -1.0)
    wrong = rng.random(n) < np.where(truth, 0.13, 0.07)
    q = np.where(truth ^ wrong, 0.9, 0.05)
    return rows, Weak(q, np.zeros((n, 0))), truth


def test_each_method_has_a_function() -> None:
    assert set(FIT) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_random_errors_of_a_weak_label_do_no_harm(method: Method) -> None:
    rows, weak, truth = easy()
    probe = FIT[method](rows, weak, 2, 0)
    assert probe.weight.shape == (5,)
    assert math.isfinite(probe.bias)
    np.testing.assert_allclose(probe.log_odds(rows), rows @ probe.weight + probe.bias)
    assert ((probe.log_odds(rows) > 0) == truth).mean() > 0.99
    assert ((weak.q > 0.5) == truth).mean() < 0.92


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_probe(method: Method) -> None:
    rows, weak, _ = easy(200)
    one, other = (FIT[method](rows, weak, 3, 1) for _ in range(2))
    np.testing.assert_array_equal(one.weight, other.weight)
    assert one.bias == other.bias


@pytest.mark.parametrize("method", ["difference", "residual"])
def test_the_mean_probability_along_a_direction_is_the_weak_one(method: Method) -> None:
    rows, weak, _ = easy()
    odds = FIT[method](rows, weak, 0, 0).log_odds(rows)
    assert (1 / (1 + np.exp(-odds))).mean() == pytest.approx(weak.q.mean(), abs=1e-6)


def test_a_direction_is_read_by_fishers_rule() -> None:
    """A direction in which the features spread widely counts for less, as in linear discriminant analysis."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(1)
    truth = rng.random(2000) < 0.5
    rows = rng.normal(size=(2000, 3)) * np.array([1.0, 4.0, 0.5]) + np.outer(truth, [2.0, 2.0, 0.2])
    probe = FIT["difference"](rows, Weak(truth.astype(float), np.zeros((2000, 0))), 0, 0)
    theirs = LinearDiscriminantAnalysis().fit(rows, truth).coef_[0]
    cosine = probe.weight @ theirs / np.linalg.norm(probe.weight) / np.linalg.norm(theirs)
    assert cosine > 1 - 1e-6


def test_residuals_leave_out_what_the_topics_own_words_say() -> None:
    rng = np.random.default_rng(2)
    n = 4000
    truth, crime = rng.random(n) < 0.5, rng.random(n) < 0.5
    rows = rng.normal(size=(n, 4)) * 0.5
    rows[:, 0] += truth
    rows[:, 1] += 2 * crime
    q = np.select([truth & crime, truth, crime], [0.9, 0.5, 0.5], 0.05)
    words = rng.poisson(np.where(crime, 8.0, 0.05)[:, None], (n, 6)).astype(float)
    weak = Weak(q, words)
    tilt = {m: abs(p.weight[1] / p.weight[0]) for m in METHODS[1:3] for p in [FIT[m](rows, weak, 0, 0)]}
    assert tilt["difference"] > 0.5
    assert tilt["residual"] < 0.05


def test_clusters_say_what_they_are() -> None:
    rows, weak, truth = easy()
    facts = FIT["intersection"](rows, weak, 2, 0).facts
    assert facts["components"] == 2
    assert facts["node"] == 1
    assert facts["share"] == pytest.approx(truth.mean(), abs=0.01)
    assert 0.5 < float(str(facts["jaccard"])) < 1
    assert FIT["kmeans"](rows, weak, 2, 0).facts["components"] == 2
    assert FIT["fixed-point"](rows, weak, 0, 0).facts["settled"] is True


def test_labels_on_one_side_are_refused() -> None:
    rows, weak, _ = easy(50)
    with pytest.raises(UserError, match="every document on one side"):
        FIT["difference"](rows, Weak(np.zeros(50), weak.words), 0, 0)
