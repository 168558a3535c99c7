"""Directions between two sets of activations, against simulated truth and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dipole.probing.directions import (
    mean_difference,
    pairwise_accuracy,
    principal_direction,
    probe_direction,
)

FITTED = 1e-4  # two solvers of one convex problem
E0 = 0


def simulated(seed: int = 0, pairs: int = 400, width: int = 32) -> tuple[Tensor, Tensor]:
    """Differences 3 e0 + N(0, 2²) e1 + 0.3 noise (recipes 1(e)1), around midpoints of their own."""
    draw = np.random.default_rng(seed)
    difference = 0.3 * draw.standard_normal((pairs, width))
    difference[:, 0] += 3
    difference[:, 1] += 2 * draw.standard_normal(pairs)
    middle = draw.standard_normal((pairs, width))
    return torch.from_numpy(middle + difference / 2), torch.from_numpy(middle - difference / 2)


def cosine_with_truth(vector: Tensor) -> float:
    return float(vector[E0] / vector.norm())


@pytest.mark.parametrize("seed", range(5))
def test_the_signal_survives_in_both_forms_and_is_deleted_by_the_ordered_centred_one(seed: int) -> None:
    claim, against = simulated(seed)
    assert cosine_with_truth(principal_direction(claim, against, "midpoint").vector) > 0.97
    assert cosine_with_truth(principal_direction(claim, against, "shuffled", seed=seed).vector) > 0.97
    assert cosine_with_truth(mean_difference(claim, against).vector) > 0.97
    # What a popular library does: all differences in one order, centred (recipes 1.1(d)).
    ordered = (claim - against).numpy()
    flawed = np.linalg.svd(ordered - ordered.mean(0), full_matrices=False)[2][0]
    assert abs(flawed[E0]) < 0.1


@pytest.mark.parametrize("find", [mean_difference, principal_direction, probe_direction])
def test_swapping_the_sides_turns_the_direction(find: object) -> None:
    claim, against = simulated()
    there, back = find(claim, against), find(against, claim)  # type: ignore[operator]
    torch.testing.assert_close(there.vector, -back.vector, atol=FITTED, rtol=FITTED)
    assert pairwise_accuracy(there.vector, claim, against) > 0.9
    assert pairwise_accuracy(back.vector, claim, against) < 0.1


def test_a_direction_is_as_long_as_the_gap_between_the_means_along_it() -> None:
    claim, against = simulated()
    gap = claim.mean(0) - against.mean(0)
    for found in (principal_direction(claim, against), probe_direction(claim, against)):
        unit = found.vector / found.vector.norm()
        assert float(found.vector.norm()) == pytest.approx(float(gap @ unit), rel=1e-9)
    assert torch.equal(mean_difference(claim, against).vector, gap)


def test_the_sign_is_recorded_and_decided_by_the_majority() -> None:
    claim, against = simulated()
    for one, other in ((claim, against), (against, claim)):
        found = principal_direction(one, other)
        halves = torch.cat([one - other, other - one]) / 2
        raw = torch.linalg.svd(halves, full_matrices=False).Vh[0]
        torch.testing.assert_close(raw * found.sign, found.vector / found.vector.norm())
        assert float(found.vector[E0]) * float((one - other).mean(0)[E0]) > 0
    # Two of three pairs point up, the third far down: the majority decides, not the mean.
    up = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-5.0, 0.0]])
    found = principal_direction(up, torch.zeros(3, 2))
    assert float(found.vector[0]) > 0


def test_pairwise_accuracy_counts_half_of_ties() -> None:
    claim = torch.tensor([[1.0], [0.0], [-1.0], [2.0]])
    assert pairwise_accuracy(torch.tensor([1.0]), claim, torch.zeros(4, 1)) == 0.625
