"""What can be told of a map, and of a vector through it, without steering; and maps that ought to fail."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.stitching.ridge import Map


def effective_rank(matrix: Tensor) -> float:
    """Participation ratio of the singular values, `(sum s)² / sum s²`: 1 up to the smaller width."""
    values = torch.linalg.svdvals(matrix.double())
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares else 0.0


def share_inside(vector: Tensor, matrix: Tensor, k: int) -> float:
    """Share of `|v|²` inside the span of the top k left singular vectors of a map `v A`.

    A vector mostly outside cannot be transferred, whatever the variance explained (recipe 2 (+)).

    Args:
        vector: `(source width,)`.
        matrix: `(source width, target width)`.
        k: How many; at least 1.
    """
    left = torch.linalg.svd(matrix.double(), full_matrices=False).U[:, : max(1, k)]
    v = vector.double()
    return float((left.T @ v).norm() ** 2 / v.norm() ** 2)


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment `|Y'X|² / (|X'X| |Y'Y|)` of paired rows (Kornblith 2019, eq. 4).

    Args:
        x: `(rows, source width)`.
        y: `(rows, target width)`.

    Returns:
        0 to 1; NaN where a side does not vary. The fewer the rows for the widths, the more too high it is.
    """
    x, y = (z.double() - z.double().mean(0) for z in (x, y))
    scale = float((x.T @ x).norm() * (y.T @ y).norm())
    return float((y.T @ x).norm() ** 2) / scale if scale else math.nan


class Against(NamedTuple):
    """A cosine beside those of the null.

    Attributes:
        cosine: Of the transferred vector with the native one.
        null_mean: Mean of the same for transferred random vectors.
        null_deviation: Their standard deviation.
        share_below: Share of them whose cosine is smaller.
    """

    cosine: float
    null_mean: float
    null_deviation: float
    share_below: float


def cosine_against_null(
    stitch: Map, vector: Tensor, native: Tensor, draws: int = 500, seed: int = 0
) -> Against:
    """Cosine of the transferred with the native vector, against that of transferred random vectors.

    States lie in a narrow cone, so a map makes cosines high for free; the null goes through the same map.

    Args:
        stitch: The map.
        vector: `(source width,)`.
        native: `(target width,)`.
        draws: Random Gaussian source vectors.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(draws, len(vector), generator=generator, dtype=torch.float64)
    mapped = stitch.vectors(torch.cat([vector.double()[None], random]))
    cosines = torch.nn.functional.cosine_similarity(mapped, native.double()[None], dim=1)
    own, null = float(cosines[0]), cosines[1:]
    return Against(own, float(null.mean()), float(null.std()), float((null < own).double().mean()))


def random_map(stitch: Map, seed: int = 0) -> Map:
    """A Gaussian map of equal Frobenius norm: what is left of transfer when the map knows nothing."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(stitch.matrix.shape, generator=generator, dtype=torch.float64)
    return Map(drawn * (stitch.matrix.norm() / drawn.norm()), stitch.bias, stitch.penalty)


def shuffled_labels(claim: Tensor, against: Tensor, seed: int = 0) -> Tensor:
    """Mean difference of pairs, half of which (as near as can be) are turned round at random.

    Args:
        claim: `(pairs, width)`.
        against: `(pairs, width)`.
        seed: Which half.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(claim)
    signs = torch.ones(n, dtype=torch.float64)
    signs[torch.randperm(n, generator=generator)[: n // 2]] = -1.0
    mixed: Tensor = (signs[:, None] * (claim.double() - against.double())).mean(0)
    return mixed
