"""Bootstrap statistics one resample and one unit at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are numbers."""
    scored = [v for v in values if not math.isnan(v)]
    return sum(scored) / len(scored) if scored else math.nan


def percentile_interval(
    groups: Sequence[Sequence[float]], tail: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Plain percentile interval of a mean, whole groups resampled, by a loop."""
    rng = random.Random(seed)
    found = []
    for _ in range(resamples):
        drawn = [rng.choice(groups) for _ in groups]
        found.append(mean([v for group in drawn for v in group]))
    found.sort()
    return found[round(tail * (resamples - 1))], found[round((1 - tail) * (resamples - 1))]


def jackknife_error(values: Sequence[float], statistic: Callable[[Sequence[float]], float]) -> float:
    """Standard error from leaving out one value at a time."""
    n = len(values)
    left_out = [statistic([*values[:i], *values[i + 1 :]]) for i in range(n)]
    centre = sum(left_out) / n
    return math.sqrt((n - 1) / n * sum((v - centre) ** 2 for v in left_out))
