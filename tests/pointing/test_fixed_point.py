"""Self-training to a fixed point."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dipole.pointing.fixed_point import fixed_point


def two(shares: float, n: int = 600, apart: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < shares
    rows = rng.normal(size=(n, 3))
    rows[:, 0] += np.where(truth, apart, -apart)
    return rows, truth


def flipped(truth: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    return truth ^ (np.random.default_rng(seed).random(len(truth)) < share)


def by_hand(rows: np.ndarray, start: np.ndarray, prior: float | None, keep: float, rounds: int) -> np.ndarray:
    """The same with another library's probe, written out."""
    labels, surest = start.copy(), np.ones(len(rows), dtype=bool)
    positives = round((start.mean() if prior is None else prior) * len(rows)) if prior == prior else None
    for _ in range(rounds):
        part = rows[surest]
        mean, spread = part.mean(0), part.std(0)
        scaled = (part - mean) / spread, (rows - mean) / spread
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(scaled[0], labels[surest])
        odds = model.decision_function(scaled[1])
        order = np.argsort(-odds)
        labels = odds > 0
        if positives is not None:
            labels = np.zeros(len(rows), dtype=bool)
            labels[order[:positives]] = True
        surest = np.zeros(len(rows), dtype=bool)
        yes, no = [i for i in order if labels[i]], [i for i in order[::-1] if not labels[i]]
        surest[yes[: round(keep * len(yes))] + no[: round(keep * len(no))]] = True
    return labels


@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("prior", [None, 0.4, float("nan")])
@pytest.mark.parametrize("rounds", [1, 3])
def test_it_is_relabelling_and_refitting(prior: float | None, keep: float, rounds: int) -> None:
    rows, truth = two(0.3)
    start = flipped(truth, 0.2)
    found = fixed_point(rows, start, prior, keep, most_rounds=rounds)
    assert found.rounds <= rounds
    assert (found.labels == by_hand(rows, start, prior, keep, found.rounds)).all()
    np.testing.assert_allclose(found.log_odds, rows @ found.weight + found.bias)


def test_a_noisy_start_comes_to_the_notion() -> None:
    rows, truth = two(0.5, apart=4.0)
    found = fixed_point(rows, flipped(truth, 0.3), float(truth.mean()))
    assert (found.labels == truth).mean() > 0.99
    assert found.settled
    assert found.rounds < 50


def test_as_many_stay_positive_as_at_the_start() -> None:
    rows, truth = two(0.3)
    start = flipped(truth, 0.1)
    for rounds in (1, 2, 5, 50):
        assert fixed_point(rows, start, most_rounds=rounds).labels.sum() == start.sum()
    assert fixed_point(rows, start, 0.25).labels.sum() == 150


def test_labels_left_to_themselves_amplify_an_imbalance() -> None:
    rows, truth = two(0.2, 2000, apart=1.0)
    start = flipped(truth, 0.3)
    free = fixed_point(rows, start, float("nan"))
    held = fixed_point(rows, start, float(truth.mean()))
    assert free.labels.mean() < 0.05
    assert held.labels.mean() == truth.mean()
    assert (held.labels & truth).sum() > 3 * (free.labels & truth).sum()


def test_a_fixed_point_stays() -> None:
    rows, truth = two(0.3)
    end = fixed_point(rows, flipped(truth, 0.2))
    again = fixed_point(rows, end.labels)
    assert again.settled
    assert again.rounds == 1
    assert (again.labels == end.labels).mean() > 0.999


def test_it_ends_where_one_class_is_left() -> None:
    rows, truth = two(0.3)
    for start in (np.ones(600, dtype=bool), np.zeros(600, dtype=bool)):
        found = fixed_point(rows, start)
        assert found.rounds == 0
        assert not found.settled
    assert fixed_point(rows, truth, 1.0).labels.all()
    assert not fixed_point(rows, truth, 0.0).labels.any()
