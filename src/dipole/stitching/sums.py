"""What a fit keeps of the rows that it has read: moments, and a sample of fixed size."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from dipole.stitching.diagnostics import linear_cka
from dipole.stitching.others import Others
from dipole.stitching.parts import PARTS
from dipole.stitching.reading import Rows
from dipole.stitching.ridge import Moments, add_shared

SHUFFLES = 4
SAMPLE = 4096


class Sums:
    """Moments of all target layers, which share X'X: one for each part, and as many again with relaxed pairs.

    Args:
        layers: How many target layers.
        relaxed: Whether there are relaxed pairs, so that moments without them are kept too.
        seed: Of the shuffled pairs.

    Attributes:
        parts: Moments of each part, one a layer.
        exact: The same without relaxed pairs; None where there are none.
        broken: For each layer, of shuffled pairs to fit on.
    """

    def __init__(self, layers: int, relaxed: bool, seed: int) -> None:
        self.parts = {part: [Moments() for _ in range(layers)] for part in PARTS}
        self.exact = {part: [Moments() for _ in range(layers)] for part in PARTS} if relaxed else None
        self.broken = [[Moments() for _ in range(SHUFFLES)] for _ in range(layers)]
        self._others = Others(SHUFFLES, seed)
        self._waiting: tuple[Rows, Tensor | None] | None = None
        self._sample: list[tuple[Tensor, Tensor]] = []
        self._sampled = 0

    def add(self, rows: Rows, weights: Tensor | None) -> None:
        """Take in rows of one part; those of the first document to fit on wait for the second.

        Args:
            rows: Of one source layer, and all target layers.
            weights: `(rows,)`; None for equal ones.
        """
        if rows.part != "fit":
            self._add(rows, weights)
            return
        if self._waiting is not None:
            rows, weights = _joined(*self._waiting, rows, weights)
        self._waiting = None if self._others.ready(rows.documents) else (rows, weights)
        if self._waiting is None:
            self._add(rows, weights)

    def finish(self) -> None:
        """Take in what still waits."""
        if self._waiting is not None:
            self._add(*self._waiting)
            self._waiting = None

    def _add(self, rows: Rows, weights: Tensor | None) -> None:
        x, moments, outputs = rows.source[0], self.parts[rows.part], iter(rows.target)
        if rows.part == "fit":
            picked = self._others.pick(rows.documents, rows.target)
            moments = [*moments, *chain.from_iterable(self.broken)]
            wrong = (picked.of(layer, k) for layer in range(len(self.broken)) for k in range(SHUFFLES))
            outputs = chain(outputs, wrong)
        add_shared(moments, x, outputs, weights)
        if self.exact is not None:
            keep = ~rows.relaxed
            kept = None if weights is None else weights[keep]
            add_shared(self.exact[rows.part], x[keep], (y[keep] for y in rows.target), kept)
        if rows.part == "test" and self._sampled < SAMPLE:
            room = SAMPLE - self._sampled
            self._sample.append((x[:room].clone(), rows.target[:, :room].clone()))
            self._sampled += len(x[:room])

    def norms(self, layer: int) -> tuple[float, float]:
        """Median and mean norm of the sample of held-out rows of a target layer."""
        sizes = torch.cat([y[layer] for _, y in self._sample]).double().norm(dim=1)
        return float(sizes.median()), float(sizes.mean())

    def cka(self, layer: int) -> float:
        """Linear CKA of that sample."""
        return linear_cka(
            torch.cat([x for x, _ in self._sample]), torch.cat([y[layer] for _, y in self._sample])
        )


def _joined(
    one: Rows, weights: Tensor | None, other: Rows, others: Tensor | None
) -> tuple[Rows, Tensor | None]:
    made = Rows(
        one.part,
        torch.cat([one.source, other.source], dim=1),
        torch.cat([one.target, other.target], dim=1),
        torch.cat([one.relaxed, other.relaxed]),
        torch.cat([one.documents, other.documents]),
    )
    return made, None if weights is None or others is None else torch.cat([weights, others])
