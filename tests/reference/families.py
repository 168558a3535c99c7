"""The effect at matched KL, the slow and obvious way."""

from __future__ import annotations

import math
from collections.abc import Sequence


def effect_at(kls: Sequence[float], values: Sequence[float], target: float) -> float:
    """Walk up the curve in very small steps of the square root of the KL until it is far enough."""
    for i in range(len(kls) - 1):
        k0, k1, v0, v1 = kls[i], kls[i + 1], values[i], values[i + 1]
        steps = 50_000
        for step in range(steps + 1):
            t = step / steps
            root = (1 - t) * math.sqrt(k0) + t * math.sqrt(k1)
            if root * root >= target * (1 - 1e-12):
                return (1 - t) * v0 + t * v1
    return math.nan


def wrong_share(before: Sequence[float], after: Sequence[float], strength: float, tolerance: float) -> float:
    """Share of scored inputs that went against the sign of the strength by more than the tolerance."""
    wrong = scored = 0
    for old, new in zip(before, after, strict=True):
        if old != old or new != new:
            continue
        scored += 1
        if strength > 0 and new < old - tolerance:
            wrong += 1
        if strength < 0 and new > old + tolerance:
            wrong += 1
    return wrong / scored
