"""Starts of known precision and recall: the truth with errors put into it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Kind = Literal["uniform", "adversarial"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def corrupted(
    truth: Labels, precision: float, recall: float, kind: Kind, likely: Array, rng: np.random.Generator
) -> Labels | None:
    """Labels of this precision and recall (recipe 3, basin measurement protocol).

    A share `recall` of the positives is kept, and `positives * recall * (1 - precision) / precision`
    negatives are added; both numbers are rounded.

    Args:
        truth: `(n,)`.
        precision: Wanted, in (0, 1].
        recall: Wanted, in (0, 1].
        kind: Errors fall on anything (uniform), or where the weak notion would make them (adversarial): the
            negatives that it finds likeliest are added, and the positives that it finds likeliest are kept.
        likely: `(n,)` how likely the weak notion finds each document; equal ones are drawn among at random.
        rng: Of the draws.

    Returns:
        `(n,)`, or None where there are not enough negatives, or no positive is left.
    """
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    kept = round(len(positives) * recall)
    added = round(len(positives) * recall * (1 - precision) / precision)
    if kept == 0 or added > len(negatives):
        return None
    labels = np.zeros(len(truth), dtype=bool)
    for rows, count in ((positives, kept), (negatives, added)):
        order = rng.permutation(rows)
        if kind == "adversarial":
            order = order[np.argsort(-likely[order], kind="stable")]
        labels[order[:count]] = True
    return labels
