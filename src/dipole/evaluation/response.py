"""Dose and response of a vector beside the native one's, over strengths.

m(s) is the mean probability that the model prefers, of two texts that it wrote itself when told the claim
and when told the opposite, the one on the claim's side (recipe 2: propensity over the strength). The effect
is `(m(1) - m(-1)) / 2`, and the retention of a vector its effect over that of the native one, both with the
same norm in units of their layer's median activation norm. The slope is that of the mean log-odds over the
strengths, by least squares, which does not saturate. Pearson's r and the mean squared difference compare the
curves m(s) themselves.

Intervals resample prompts, with the vectors as they are. Of a null, which stands for all maps that know
nothing, there is a second one over its draws, with the prompts as they are; its draws differ by more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dipole.effects import Interval
from dipole.evaluation.statistics import Resampling, interval, mean_interval, quotient, student_quantile

Array = NDArray[np.float64]
ALL = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Draws:
    """A quotient over the native vector's, over the draws of a null.

    Attributes:
        mean: Mean over draws, with its 95 % interval over draws (Student's).
        deviation: Standard deviation of one draw.
        size: Mean of the absolute value of one draw, which a mean near 0 does not tell.
    """

    mean: Interval
    deviation: float
    size: float


@dataclass(frozen=True)
class Response:
    """One vector's dose and response.

    Attributes:
        name: `source`, `native`, `translated`, or one of the nulls `shuffled`, `random`, `labels`.
        label: The same for a reader.
        layer: Where it acts.
        curve: m at each of `Transfer.strengths`; of a null the mean over its draws.
        effect: `(m(1) - m(-1)) / 2`.
        slope: Log-odds in nats a unit of strength.
        retention: Effect over the native one's, with its interval over prompts; None for the native one, the
            source's in its own model, and where the native effect can't be told from none.
        slope_ratio: The same of the slopes.
        retention_draws: The retention over the draws of a null; None for one vector.
        slope_draws: The same of the slopes.
        pearson: Pearson's r of the curve with the native one; of a null the mean over its draws. NaN for the
            source's, the native one, and where a curve is flat.
        mse: Mean squared difference of these curves; NaN for the source's and the native one.
        draws: How many vectors stand behind it.
    """

    name: str
    label: str
    layer: int
    curve: tuple[Interval, ...]
    effect: Interval
    slope: Interval
    retention: Interval | None
    slope_ratio: Interval | None
    retention_draws: Draws | None
    slope_draws: Draws | None
    pearson: float
    mse: float
    draws: int


def response(
    name: str, label: str, layer: int, units: Sequence[Array], native: Sequence[Array], plan: Resampling
) -> Response:
    """The response to one vector, or to several draws of a null.

    Args:
        name: As in `Response`.
        label: For a reader.
        layer: Where the vectors act.
        units: For each vector log-odds in nats, `(strengths, units)`.
        native: The same of the one native vector.
        plan: Resamples of the prompts.
    """
    shares, own_shares = [_sigmoid(rows) for rows in units], _sigmoid(native[0])
    curve = tuple(mean_interval(np.mean([s[k] for s in shares], axis=0), plan) for k in range(len(ALL)))
    effects, slopes = [_effect(s) for s in shares], [_slope(rows) for rows in units]
    effect, slope = np.mean(effects, axis=0), np.mean(slopes, axis=0)
    own_effect, own_slope = _effect(own_shares), _slope(native[0])
    own = mean_interval(own_effect, plan)
    # A quotient over an effect that may be nothing says nothing.
    compared = name not in ("source", "native") and own.excludes_zero
    r, mse = (math.nan, math.nan) if name in ("source", "native") else _agreement(shares, own_shares)
    return Response(
        name,
        label,
        layer,
        curve,
        mean_interval(effect, plan),
        mean_interval(slope, plan),
        interval(np.stack([effect, own_effect], axis=1), quotient, plan) if compared else None,
        interval(np.stack([slope, own_slope], axis=1), quotient, plan) if compared else None,
        over_draws([float(e.sum() / own_effect.sum()) for e in effects]) if compared else None,
        over_draws([float(s.sum() / own_slope.sum()) for s in slopes]) if compared else None,
        r,
        mse,
        len(units),
    )


def over_draws(values: Sequence[float]) -> Draws | None:
    """What draws of a null have in common; None of a single one."""
    n = len(values)
    if n < 2:
        return None
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = student_quantile(0.975, n - 1) * deviation / math.sqrt(n)
    return Draws(Interval(mean, mean - half, mean + half), deviation, float(np.abs(values).mean()))


def _agreement(shares: Sequence[Array], native: Array) -> tuple[float, float]:
    own = native.mean(axis=1)
    curves = [s.mean(axis=1) for s in shares]
    found = [_pearson(curve, own) for curve in curves]
    return float(np.mean(found)), float(np.mean([((curve - own) ** 2).mean() for curve in curves]))


def _pearson(one: Array, other: Array) -> float:
    a, b = one - one.mean(), other - other.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def _sigmoid(rows: Array) -> Array:
    made: Array = 0.5 * (1.0 + np.tanh(rows / 2.0))
    return made


def _effect(shares: Array) -> Array:
    made: Array = (shares[-1] - shares[0]) / 2.0
    return made


def _slope(rows: Array) -> Array:
    s = np.array(ALL)
    made: Array = s @ rows / float(s @ s)
    return made
