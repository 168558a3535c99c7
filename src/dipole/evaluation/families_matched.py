"""The effect of a control at a given distance from the base, read off its curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dipole.effects import Interval
from dipole.evaluation.families_records import Matched
from dipole.evaluation.statistics import Resampling, interval, mean_interval, share_interval, wilson

Array = NDArray[np.float64]

RULE = (
    "the first place, going up from strength 0, where the curve is that far from the base; between two "
    "measured strengths the effect is taken as linear in the square root of the KL"
)
NOWHERE = Interval(math.nan, math.nan, math.nan)


def crossing(kls: ArrayLike, target: float) -> tuple[NDArray[np.int64], Array]:
    """Where a curve first is `target` nats from the base.

    For a small push the effect and the square root of the KL both grow in proportion to the strength, so
    a curve is nearly straight over that root (the axis of Gao et al. 2022), and not over the KL itself.

    Args:
        kls: `(..., points)` KL at rising strengths, the first of them 0; a dip on the way up is allowed.
        target: Distance in nats, above 0.

    Returns:
        `(...,)` index of the point before the crossing, and how far from it towards the next one, from 0
        to 1; NaN where the curve does not get there.
    """
    roots = np.sqrt(np.maximum(np.asarray(kls, dtype=np.float64), 0.0))
    beyond = roots[..., 1:] >= math.sqrt(target)
    before = beyond.argmax(axis=-1)
    low = np.take_along_axis(roots, before[..., None], -1)[..., 0]
    high = np.take_along_axis(roots, before[..., None] + 1, -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (math.sqrt(target) - low) / (high - low)
    return before, np.where(beyond.any(axis=-1), share, math.nan)


def value_at(kls: ArrayLike, values: ArrayLike, target: float) -> Array:
    """The value of a curve where it first is `target` nats from the base; NaN where it does not get there.

    Args:
        kls: `(..., points)`; see `crossing`.
        values: `(..., points)`, or anything that broadcasts to it.
        target: Distance in nats, above 0.
    """
    before, share = crossing(kls, target)
    heights = np.broadcast_to(np.asarray(values, dtype=np.float64), np.shape(kls))
    low = np.take_along_axis(heights, before[..., None], -1)[..., 0]
    high = np.take_along_axis(heights, before[..., None] + 1, -1)[..., 0]
    return np.asarray(low + share * (high - low))


def value_interval(
    kls: Array, values: Array, target: float, plan: Resampling, share: bool = False
) -> Interval:
    """`value_at` of the means over units, with its interval; the KL is resampled with the value.

    Resamples that do not get that far are left out.

    Args:
        kls: `(points, units)` KL of each unit at rising strengths, the first row 0.
        values: `(points, units)`; NaN where a unit has no value.
        target: Distance in nats.
        plan: The resamples.
        share: Whether the values are hits and misses; where all agree, Wilson's bounds stand in.
    """
    points, units = kls.shape
    scored = ~np.isnan(values)
    columns = np.concatenate([np.ones((1, units)), kls, np.where(scored, values, 0.0), scored]).T

    def statistic(sums: Array) -> Array:
        parts = [sums[..., 1 + i * points : 1 + (i + 1) * points] for i in range(3)]
        return value_at(parts[0] / sums[..., :1], parts[1] / parts[2], target)

    found = interval(columns, statistic, plan)
    return wilson(round(found.mean * units), units) if share and found.mean in (0.0, 1.0) else found


def match_curve(
    strengths: Sequence[float],
    kls: Array,
    values: Array,
    probabilities: Array,
    target: float,
    plan: Resampling,
    share: bool,
) -> Matched:
    """A graded control at a given distance.

    Args:
        strengths: Rising, the first of them 0.
        kls: `(points, units)`.
        values: `(points, units)` main quantity.
        probabilities: `(points, units)` VELMA probability.
        target: Distance in nats.
        plan: The resamples.
        share: Whether the main quantity is a share of hits.
    """
    means = kls.mean(axis=1)
    farthest = float(means.max())
    if not farthest >= target:
        return Matched(target, "not reached", math.nan, NOWHERE, NOWHERE, farthest)
    strength = float(value_at(means, np.asarray(strengths), target))
    value = value_interval(kls, values, target, plan, share)
    probability = value_interval(kls, probabilities, target, plan)
    return Matched(target, "between", strength, value, probability, farthest)


def match_point(
    own: float, values: Array, probabilities: Array, target: float, plan: Resampling, share: bool
) -> Matched:
    """An ungraded control: what it has at its own distance, and nothing elsewhere.

    Args:
        own: Its distance at strength 1, nats a sequence.
        values: `(units,)` main quantity at strength 1.
        probabilities: `(units,)` VELMA probability at strength 1.
        target: Distance that is asked about.
        plan: The resamples.
        share: Whether the main quantity is a share of hits.
    """
    if target != own:
        return Matched(target, "no curve", math.nan, NOWHERE, NOWHERE, own)
    value = share_interval(values, plan) if share else mean_interval(values, plan)
    return Matched(target, "measured", 1.0, value, mean_interval(probabilities, plan), own)
