"""The leading principal components of one layer's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_OVERSAMPLED, _ROUNDS = 8, 6


@dataclass(frozen=True, eq=False)
class Space:
    """The leading principal components of one layer's features, in one scale.

    The components are not whitened: how far the model moves its documents apart along a direction is what
    says that it makes a difference there.

    Attributes:
        mean: `(width,)`.
        basis: `(width, components)`, orthonormal columns.
        scale: What coordinates are divided by: the root mean square of a coordinate.
        explained: Share of the variance that the components hold.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    scale: float
    explained: float

    @classmethod
    def fit(cls, features: Tensor, components: int) -> Space:
        """The space of these documents.

        Args:
            features: `(n, width)`.
            components: At most so many; never more than documents or width.
        """
        rows = features.double()
        mean = rows.mean(0)
        centred = rows - mean
        basis = _leading(centred, min(components, *centred.shape))
        coordinates = centred @ basis
        total = float(centred.square().sum())
        held = float(coordinates.square().sum())
        scale = (held / coordinates.numel()) ** 0.5 or 1.0
        return cls(mean.numpy(), basis.numpy(), scale, held / total if total > 0 else 0.0)

    def project(self, features: Tensor) -> NDArray[np.float64]:
        """Coordinates `(n, components)`."""
        rows: NDArray[np.float64] = (features.double().numpy() - self.mean) @ self.basis / self.scale
        return rows

    def lift(self, weight: NDArray[np.float64], bias: float) -> tuple[Tensor, float]:
        """A linear function of coordinates as one of features: its weights `(width,)` and bias."""
        whole = self.basis @ weight / self.scale
        return torch.from_numpy(whole), float(bias - self.mean @ whole)


def _leading(centred: Tensor, count: int) -> Tensor:
    """The leading right singular vectors `(width, count)`, by subspace iteration from a fixed start.

    Halko et al. 2011, algorithm 4.4, with a few directions more than are asked for. A wide matrix costs
    `n * width * count` a round and never a square of its width.
    """
    generator = torch.Generator().manual_seed(0)
    more = min(count + _OVERSAMPLED, *centred.shape)
    found = torch.randn(centred.shape[1], more, generator=generator, dtype=centred.dtype)
    for _ in range(_ROUNDS):
        found = torch.linalg.qr(centred.T @ torch.linalg.qr(centred @ found).Q).Q
    _, _, rotation = torch.linalg.svd(centred @ found, full_matrices=False)
    leading: Tensor = (found @ rotation.T)[:, :count]
    return leading
