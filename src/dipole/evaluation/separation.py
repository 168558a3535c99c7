"""How well a score tells two groups of texts apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dipole.effects import Interval
from dipole.evaluation.statistics import bca_bounds, resampling


def separation(claim: ArrayLike, against: ArrayLike, units: Sequence[int], seed: int = 0) -> Interval:
    """Area under the ROC curve with its BCa interval: how often a text of the claim's group scores higher.

    0.5 is a coin, 1 tells every pair apart; two equal scores count half (Mann and Whitney 1947).

    Args:
        claim: Scores of one group, one a unit; NaN takes no part.
        against: Scores of the other, of the same units: what came of the same prompt and seed.
        units: Prompt of each unit; resampled as `statistics.resampling` says, both groups together.
        seed: Of the resamples.

    Returns:
        NaN where a group has no score; NaN bounds where there are fewer than two units.
    """
    up, down = np.asarray(claim, dtype=np.float64), np.asarray(against, dtype=np.float64)
    there = [~np.isnan(up), ~np.isnan(down)]
    # In float comparisons NaN is neither above nor equal, so its row and column are 0, and it has no weight.
    above = (up[:, None] > down[None]) + 0.5 * (up[:, None] == down[None])
    plan = resampling(units, seed)
    groups = plan.weights.shape[1]

    def area(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = weights[:, plan.groups]
        total = (rows * there[0]).sum(1) * (rows * there[1]).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(((rows @ above) * rows).sum(1) / total, dtype=np.float64)

    if not groups:
        return Interval(math.nan, math.nan, math.nan)
    estimate = float(area(np.ones((1, groups)))[0])
    if groups < 2 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    resampled, jackknife = area(plan.weights), area(1.0 - np.eye(groups))
    resampled, jackknife = (part[np.isfinite(part)] for part in (resampled, jackknife))
    if not len(resampled):
        return Interval(estimate, math.nan, math.nan)
    return Interval(estimate, *bca_bounds(estimate, resampled, jackknife, groups))


def grouped_separation(scores: ArrayLike, labels: Sequence[bool | None], units: Sequence[int]) -> Interval:
    """The same for texts that are each in one group; a label None takes no part."""
    values = np.asarray(scores, dtype=np.float64)
    up = [v if label is True else math.nan for v, label in zip(values, labels, strict=True)]
    down = [v if label is False else math.nan for v, label in zip(values, labels, strict=True)]
    return separation(up, down, units)
