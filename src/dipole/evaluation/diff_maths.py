"""Did anything change between two logs of the same items? Paired differences, clustered, with their power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dipole.effects import Interval
from dipole.evaluation.statistics import CONFIDENCE, MIN_GROUPS, student_quantile, wilson

POWER = 0.8
"""With what probability a difference that is said to be detectable would be found."""

_ENUMERATED = 14  # groups that changed, of which every choice of signs is tried: 16,384
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)


class Paired(NamedTuple):
    """Values of the same items before and after.

    Attributes:
        items: How many.
        groups: How many clusters; as many as items where each stands for itself.
        before: Mean.
        after: Mean.
        difference: After less before, with its 95 % interval.
        error: Standard error of the difference, clustered.
        p: Probability of a difference as large either way if before and after were exchangeable.
        up: Items whose value rose.
        down: Items whose value fell.
    """

    items: int
    groups: int
    before: float
    after: float
    difference: Interval
    error: float
    p: float
    up: int
    down: int

    @property
    def wrong_way(self) -> float:
        """Share of the items that changed which went against the mean; NaN where none changed."""
        changed = self.up + self.down
        against = self.down if self.difference.mean >= 0 else self.up
        return against / changed if changed else math.nan

    @property
    def detectable(self) -> float:
        """The difference that so many items like these show in 80 % of repetitions, at 5 %."""
        return (_Z + _NORMAL.inv_cdf(POWER)) * self.error

    def power(self, effect: float) -> float:
        """Probability that so many items like these show a difference of this size, at 5 %."""
        if self.error == 0:
            return math.nan
        reach = abs(effect) / self.error
        return _NORMAL.cdf(reach - _Z) + _NORMAL.cdf(-reach - _Z)

    def needed(self, effect: float) -> int | None:
        """Items like these that show a difference of this size in 80 % of repetitions; None for none."""
        if effect == 0 or self.error == 0:
            return None
        return math.ceil(self.items * (self.detectable / abs(effect)) ** 2)


def paired(before: Sequence[float], after: Sequence[float], clusters: Sequence[str] = ()) -> Paired:
    """Compare values of the same items.

    The standard error is that of a mean of clusters (Liang and Zeger 1986, as Miller 2024 has it for
    evaluations, arXiv:2411.00640, eq. 4, here times g / (g - 1)); with fewer than `MIN_GROUPS` clusters
    items stand for themselves, as in `statistics`, and the result speaks of these clusters only. The interval
    is Student's with g - 1 degrees. p is exact where that is cheap: McNemar's binomial where every change has
    one size, else all choices of signs of up to 14 clusters that changed; beyond that it is Student's.

    Args:
        before: Values.
        after: Of the same items, in the same order.
        clusters: What each belongs to; empty where each stands for itself.
    """
    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    change, count = other - one, len(one)
    index = np.arange(count)
    if clusters:
        labels, found = np.unique(np.asarray(clusters), return_inverse=True)
        index = found if len(labels) >= MIN_GROUPS else index
    groups = int(index.max(initial=-1)) + 1
    mean = float(change.mean())
    sums = np.bincount(index, weights=change - mean, minlength=groups)
    error = math.sqrt(groups / (groups - 1) * float((sums**2).sum())) / count if groups > 1 else math.nan
    totals: NDArray[np.float64] = np.bincount(index, weights=change, minlength=groups).astype(np.float64)
    return Paired(
        items=count,
        groups=groups,
        before=float(one.mean()),
        after=float(other.mean()),
        difference=_interval(mean, error, groups, change),
        error=error,
        p=_p_value(totals, mean, error, groups),
        up=int((change > 0).sum()),
        down=int((change < 0).sum()),
    )


def _interval(mean: float, error: float, groups: int, change: NDArray[np.float64]) -> Interval:
    if math.isnan(error):
        return Interval(mean, math.nan, math.nan)
    if not change.any():  # no resample differs, and yet another item might
        high = wilson(0, len(change)).high
        return Interval(0.0, -high, high)
    half = error * student_quantile((1 + CONFIDENCE) / 2, groups - 1)
    return Interval(mean, mean - half, mean + half)


def _p_value(totals: NDArray[np.float64], mean: float, error: float, groups: int) -> float:
    changed = totals[np.abs(totals) > 1e-12]
    if groups < 2:
        return math.nan
    if not len(changed):
        return 1.0
    sizes = np.abs(changed)
    if np.ptp(sizes) <= 1e-12 * sizes.max():
        return mcnemar(int((changed > 0).sum()), len(changed))
    if len(changed) <= _ENUMERATED:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(changed))))
        return float((np.abs(signs @ changed) >= abs(changed.sum()) * (1 - 1e-9)).mean())
    from scipy.special import stdtr  # half a second to import

    return min(1.0, 2 * float(stdtr(groups - 1, -abs(mean) / error))) if error > 0 else 0.0


def mcnemar(up: int, changed: int) -> float:
    """Two-sided exact p of so many rises among the changes, each way being as likely (McNemar 1947)."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(up, changed - up), changed, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected so that at most 5 % of such families have any false alarm (Holm 1979).

    NaN stays NaN and does not count.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    worst = 0.0
    for rank, (p, i) in enumerate(known):
        worst = max(worst, min(1.0, (len(known) - rank) * p))
        corrected[i] = worst
    return corrected
