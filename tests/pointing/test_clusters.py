"""Clusters and their overlap with a weak label; k-means fails at small minorities, free weights do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dipole.pointing.clusters import Mixture, best_overlap, k_means, mixture, soft_jaccard, tree
from dipole.pointing.measure import scores
from dipole.pointing.methods import FIT, Weak
from dipole.pointing.two_clusters import free_weights_em
from tolerance import BOUNDARY, POSTERIOR, SHARE

N = 100_000
STARTS = (-3.0, 0.0, 1.0, 3.0)
# Share of the minority at +2 (the rest at -2): 2-means fixed point, Bayes boundary; recipe 3, pitfalls.
GOLDEN = {0.5: (0.0, 0.0), 0.2: (-0.10, 0.347), 0.05: (-1.39, 0.736), 0.02: (-1.81, 0.973)}
# Precision and recall of the minority, by 2-means and by Bayes' rule; recipe 3, (+).
COSTS = {0.1: (0.70, 0.99, 0.95, 0.93), 0.05: (0.16, 1.00, 0.94, 0.90), 0.02: (0.05, 1.00, 0.92, 0.85)}


def two(p: float, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < p
    return np.where(truth, 2.0, -2.0)[:, None] + rng.normal(size=(n, 1)), truth


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("p", GOLDEN)
def test_two_means_ends_at_its_known_fixed_point(p: float, start: float) -> None:
    rows, _ = two(p)
    above = rows[:, 0] > start
    labels = k_means(rows, 2, 0, start=np.array([rows[~above].mean(0), rows[above].mean(0)]))
    boundary = sum(rows[labels == k].mean() for k in (0, 1)) / 2
    assert boundary == pytest.approx(GOLDEN[p][0], abs=0.02)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("p", GOLDEN)
def test_free_weights_end_at_the_bayes_boundary(p: float, start: float) -> None:
    rows, _ = two(p)
    found = free_weights_em(rows, rows[:, 0] > start, "unit")
    assert math.log((1 - p) / p) / 4 == pytest.approx(GOLDEN[p][1], abs=1e-3)
    assert -found.bias / found.weight[0] == pytest.approx(GOLDEN[p][1], abs=BOUNDARY)
    assert found.share == pytest.approx(p, abs=SHARE)
    assert found.settled


@pytest.mark.parametrize("p", COSTS)
def test_what_the_failure_of_two_means_costs(p: float) -> None:
    rows, truth = two(p)
    labels = k_means(rows, 2, 0, restarts=2)
    upper = labels == max((0, 1), key=lambda k: rows[labels == k].mean())
    precision, recall, _ = scores(upper, truth)
    assert (precision, recall) == pytest.approx(COSTS[p][:2], abs=0.02)
    bayes = free_weights_em(rows, rows[:, 0] > 0, "unit").log_odds(rows) > 0
    precision, recall, _ = scores(bayes, truth)
    assert (precision, recall) == pytest.approx(COSTS[p][2:], abs=0.02)


def test_a_rare_genre_is_lost_by_k_means_and_found_by_the_mixture() -> None:
    rows, truth = two(0.02, 20_000)
    rng = np.random.default_rng(1)
    weak = np.where(rng.random(len(truth)) < 0.3, ~truth & (rng.random(len(truth)) < 0.03), truth)
    pointer = Weak(weak.astype(float), np.zeros((len(truth), 0)))
    lost, found = (
        scores(FIT[method](rows, pointer, 2, 0).log_odds(rows) > 0, truth) for method in ("kmeans", "mixture")
    )
    assert lost[0] < 0.1
    assert lost[1] > 0.98  # recall alone would call it a success
    assert found[0] > 0.85
    assert found[2] > 0.8


def test_a_shared_covariance_is_that_of_the_clusters_and_not_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[2.0, 0.8], [0.8, 1.0]])
    truth = rng.random(20_000) < 0.3
    rows = rng.multivariate_normal([0, 0], spread, len(truth)) + np.where(truth[:, None], [3.0, -3.0], 0)
    found = free_weights_em(rows, (rows[:, 0] > 2).astype(float))
    expected = np.linalg.solve(spread, [3.0, -3.0])
    np.testing.assert_allclose(found.weight, expected, rtol=0.05)
    bias = math.log(0.3 / 0.7) - expected @ np.array([3.0, -3.0]) / 2
    assert found.bias == pytest.approx(bias, rel=0.05)


def test_a_cluster_that_runs_empty_leaves_what_came_before() -> None:
    rows, _ = two(0.5, 200)
    found = free_weights_em(rows, np.ones(200))
    assert found.rounds == 0
    assert not found.settled
    assert np.isfinite(found.log_odds(rows)).all()


def test_responsibilities_are_bayes_rule() -> None:
    made = Mixture(
        np.array([0.2, 0.8]), np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([[1.0, 4.0], [0.25, 1.0]])
    )
    row = np.array([0.7, 0.3])
    densities = [
        w * math.prod(math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
                      for x, m, v in zip(row, mean, variance, strict=True))
        for w, mean, variance in zip(made.weights, made.means, made.variances, strict=True)
    ]  # fmt: skip
    expected = np.array(densities) / sum(densities)
    np.testing.assert_allclose(made.responsibilities(row[None])[0], expected, rtol=POSTERIOR)


def test_the_mixture_has_the_weights_of_its_clusters() -> None:
    rng = np.random.default_rng(0)
    sizes = (600, 300, 100)
    rows = np.concatenate([rng.normal(size=(n, 2)) + at for n, at in zip(sizes, (0, 8, 16), strict=True)])
    found = mixture(rows, 3, 0)
    assert sorted(found.weights, reverse=True) == pytest.approx([0.6, 0.3, 0.1], abs=SHARE)


def test_the_tree_joins_what_is_near_first() -> None:
    means = np.array([[0.0], [1.0], [10.0], [11.5]])
    nodes = tree(Mixture(np.full(4, 0.25), means, np.ones((4, 1))))
    assert [set(node) for node in nodes] == [{0}, {1}, {2}, {3}, {0, 1}, {2, 3}, {0, 1, 2, 3}]
    assert tree(Mixture(np.ones(1), means[:1], np.ones((1, 1)))) == [(0,)]


def test_soft_jaccard() -> None:
    assert soft_jaccard(np.array([0.2, 0.9]), np.array([0.5, 0.6])) == pytest.approx(0.8 / 1.4)
    assert soft_jaccard(np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(1 / 3)
    assert soft_jaccard(np.zeros(2), np.zeros(2)) == 0


def test_the_best_overlap_is_a_proper_node() -> None:
    hard = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    nodes = [(0,), (1,), (2,), (0, 1), (0, 1, 2)]
    found = best_overlap(np.array([1.0, 1, 1, 0, 0, 0]), hard, nodes)
    assert found.node == (0, 1)
    assert found.jaccard == pytest.approx(3 / 4)
    assert found.runner_up == 0  # of (2,): what lies within the best one or around it is no rival
    assert best_overlap(np.ones(6), hard, nodes).node == (0, 1)  # all documents point at nothing
    assert best_overlap(np.array([1.0, 1, 1, 0, 1, 0]), hard, nodes[:3]).runner_up == pytest.approx(1 / 5)
