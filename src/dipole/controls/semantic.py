"""Semantic boost: an addition to the logits of every word by how near its meaning is to some words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from dipole.controls._words import Bags
from dipole.controls.boost import OfWords
from dipole.decoding.logit_maths import nearness

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class Semantic(OfWords):
    """Make words likelier by how near their embeddings are to the words of the claim.

    The logit of each token rises by weight * max(0, cosine) with the nearest of the claim's words, and falls
    by the same for the other side's. Departures from the paper (K2T): the model's own input embeddings stand
    in for GloVe, less their mean; the weight is constant, where K2T raises it towards a deadline by which the
    word must have been said; and there are words on two sides.

    Attributes:
        center: Subtract the mean embedding before taking cosines.
        weights: Weights in nats to try, with commas.
    """

    center: bool = True
    weights: str = "1,2,3,4,6,8"

    name: ClassVar[str] = "semantic"
    paper: ClassVar[str] = "Pascual 2021 (K2T), arXiv:2109.09707"

    def additions(self, lm: LM, bags: Bags) -> tuple[Tensor, Tensor]:
        """All tokens that mean something near to those of either side."""
        near = two_sided(lm.resident.model.get_input_embeddings().weight, bags, self.center).cpu()
        near = near[: lm.resident.written]  # rows that no token has mean nothing
        tokens = near.nonzero().flatten()
        return tokens, near[tokens]


@torch.no_grad()
def two_sided(embeddings: Tensor, bags: Bags, center: bool) -> Tensor:
    """Nearness to the claim's tokens less nearness to the other side's, `(vocab,)` from -1 to 1."""
    near = torch.zeros(len(embeddings), device=embeddings.device)
    for sign, bag in ((1.0, bags.claim), (-1.0, bags.against)):
        if bag:
            near += sign * nearness(embeddings, torch.tensor(bag), center)
    return near
