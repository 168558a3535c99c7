"""What several guides of one batch owe each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from architectures import tiny_model
from dipole.decoding.guides import Decoder, Row, Session


class Fixed:
    """A guide that answers with logits of its own, whatever it is given."""

    streams: Sequence[Sequence[int]] = ()

    def __init__(self, forbidden: int | None) -> None:
        """Forbid one token, or none."""
        self._forbidden = forbidden

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """All alike, but for the forbidden one."""
        del streams
        fresh = torch.zeros_like(logits)
        if self._forbidden is not None:
            fresh[:, self._forbidden] = -torch.inf
        return fresh

    def advance(self, tokens: Tensor) -> None:
        """Nothing to learn."""

    def keep(self, index: Tensor) -> None:
        """Nothing to keep."""


@torch.no_grad()
def test_what_one_guide_forbids_no_later_one_allows() -> None:
    resident = tiny_model("gpt2").resident
    rows = [Row("a", (5, 6)), Row("b", (7,))]
    session = Session(resident, resident.model, rows, resident.encode)
    decoder = Decoder(session, [Fixed(7), Fixed(None)])
    for logits in (decoder.start(), decoder.advance(torch.tensor([3, 4]))):
        assert logits.isneginf().nonzero().tolist() == [[0, 7], [1, 7]]
