"""Directions from soft labels: pure functions in float64, no model.

Rows are documents. `q` is the weak probability that a document belongs to the notion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dipole.types import UserError

Array = NDArray[np.float64]


def weighted_difference(q: Array, features: Array) -> Array:
    """Mean of the features weighted by q less their mean weighted by 1 - q.

    It equals `Cov(q, h) / (mean(q) (1 - mean(q)))`, covariance with divisor n. Where the weak errors are
    independent of the features given the truth, noise in q only shortens it (recipe 3, algorithm A).

    Args:
        q: `(n,)` in [0, 1].
        features: `(n, width)`.

    Returns:
        `(width,)`.

    Raises:
        UserError: q puts all its weight on one side.
    """
    inside, outside = q.sum(), (1 - q).sum()
    if not (inside > 0 and outside > 0):
        raise UserError(
            "The weak labels put every document on one side, so there is no difference to point along; "
            "choose another topic or a corpus that has both."
        )
    found: Array = q @ features / inside - (1 - q) @ features / outside
    return found


def residual(features: Array, words: Array, ridge: float = 1e-6) -> Array:
    """What is left of the features when the best linear prediction from word counts is taken away.

    A topic model's errors follow words, so a difference of features that words predict repeats them.

    Args:
        features: `(n, width)`.
        words: `(n, words)` counts of the topic's own top words.
        ridge: Added to the diagonal, in units of its mean.
    """
    x = words - words.mean(0)
    gram = x.T @ x
    gram += np.eye(len(gram)) * (ridge * max(float(np.trace(gram)) / max(len(gram), 1), 1e-12))
    centred = features - features.mean(0)
    left: Array = features - x @ np.linalg.solve(gram, x.T @ centred)
    return left
