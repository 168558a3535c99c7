"""Rows of other documents, to pair rows with that have nothing to do with them: the null of a map.

Rows of one document are alike whatever the model, so a map fitted to pairs shuffled within a document
or within the few documents that are read at once, still knows something. Here a row is paired with one from a
sample of all documents before its own.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

ROOM = 4096
"""Rows in the sample at most."""
_BYTES = 128 * 2**20
_LEAST = 64


class Picked(NamedTuple):
    """Which rows are paired with which.

    Attributes:
        kept: `(layers, kept, width)` the sample before these rows came.
        rows: `(layers, rows, width)` these rows.
        partners: `(draws, rows)` into both, one after the other.
    """

    kept: Tensor
    rows: Tensor
    partners: Tensor

    def of(self, layer: int, draw: int) -> Tensor:
        """The partners of the rows at a layer, `(rows, width)`."""
        return _gather(self.kept[layer], self.rows[layer], self.partners[draw])


def _gather(kept: Tensor, rows: Tensor, index: Tensor) -> Tensor:
    made = rows.new_empty(len(index), rows.shape[1])
    old = index < len(kept)
    made[old], made[~old] = kept[index[old]], rows[index[~old] - len(kept)]
    return made


class Others:
    """A uniform sample of the rows of all documents so far (reservoir sampling; Vitter 1985, algorithm R).

    What is drawn depends on the documents and their order, not on how many come at once.

    Args:
        draws: Partners that each row gets.
        seed: Of these and of the sample.
        room: Rows that are kept at most; None for `ROOM`, or fewer wide ones.
    """

    def __init__(self, draws: int, seed: int, room: int | None = None) -> None:
        self.room = room
        self.kept: Tensor | None = None
        self._seen = 0
        self._sampling = torch.Generator().manual_seed(seed)
        self._drawing = [torch.Generator().manual_seed(seed + 1 + k) for k in range(draws)]

    def ready(self, documents: Tensor) -> bool:
        """Whether there is another document for each of these."""
        return self.kept is not None or bool((documents != documents[0]).any())

    def pick(self, documents: Tensor, rows: Tensor) -> Picked:
        """Draw partners for rows, then take them into the sample.

        Rows of the very first document get partners from the second; where it is alone, from itself.

        Args:
            documents: `(rows,)` of which document each is; one document after the other.
            rows: `(layers, rows, width)`.
        """
        if self.room is None:
            self.room = min(ROOM, max(_LEAST, _BYTES // (rows.element_size() * rows[:, 0].numel())))
        kept = rows[:, :0] if self.kept is None else self.kept
        sizes = [len(list(own)) for _, own in groupby(documents.tolist())]
        first = len(kept[0])
        sample, partners, start = torch.arange(first), [], 0
        for size in sizes:
            own = torch.arange(first + start, first + start + size)
            start += size
            known = sample
            if not len(sample):
                known = torch.arange(first + size, first + size + sizes[1]) if len(sizes) > 1 else own
            picks = [torch.randint(len(known), (size,), generator=drawing) for drawing in self._drawing]
            partners.append(torch.stack([known[pick] for pick in picks]))
            sample = self._taken(sample, own, self.room)
        self.kept = torch.stack([_gather(kept[k], rows[k], sample) for k in range(len(rows))])
        return Picked(kept, rows, torch.cat(partners, dim=1))

    def _taken(self, sample: Tensor, own: Tensor, room: int) -> Tensor:
        """The sample with some rows of a document in it."""
        number = self._seen + torch.arange(len(own))
        self._seen += len(own)
        place = (torch.rand(len(own), generator=self._sampling, dtype=torch.float64) * (number + 1)).long()
        place = torch.where(number < room, number, place)
        found = dict(enumerate(sample.tolist()))
        found.update((at, row) for at, row in zip(place.tolist(), own.tolist(), strict=True) if at < room)
        return torch.tensor([found[at] for at in range(len(found))])
